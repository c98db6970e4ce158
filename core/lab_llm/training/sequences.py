"""Token sequences padded to a batch, and the log-probabilities of many of them in batches."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

Ids = Sequence[Sequence[int]]
LogProbs = Callable[[Tensor, Tensor, int], Tensor]
"""(input_ids (b, S), attention_mask (b, S), T) -> log-probabilities of the last T tokens (b, T)."""


@torch.no_grad()
def score(
    logprobs: LogProbs,
    prompts: Ids,
    completions: Ids,
    *,
    width: int,
    batch_size: int,
    pad_token_id: int,
    num_batches: int | None = None,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "n width"]:
    """Log-probabilities (n, width) of each completion after its prompt, 0 beyond its end.

    Rows are sorted by length into batches, so that little is computed for padding. `num_batches`,
    where given, is reached by repeating a batch: under ZeRO-3 every rank must run as many.
    """
    result = torch.zeros(len(prompts), width, device=device)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]) + len(completions[i]))
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    for rows in batches:
        longest = max(len(completions[i]) for i in rows)
        ids, mask = padded(
            [prompts[i] for i in rows], [completions[i] for i in rows], pad_token_id, device
        )
        found = logprobs(ids, mask, longest)
        result[rows, :longest] = found * mask[:, -longest:]
    for _ in range((num_batches or 0) - len(batches)):
        ids, mask = padded([[pad_token_id]], [[pad_token_id]], pad_token_id, device)
        logprobs(ids, mask, 1)
    return result


def padded(
    prompts: Ids, completions: Ids, pad_token_id: int, device: torch.device | str
) -> tuple[Int[Tensor, "n S"], Int[Tensor, "n S"]]:
    """Token ids and attention mask (n, P + T): prompts padded left, completions right."""
    left, right = max(map(len, prompts)), max(map(len, completions))
    ids = torch.full((len(prompts), left + right), pad_token_id)
    mask = torch.zeros_like(ids)
    for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        span = slice(left - len(prompt), left + len(completion))
        ids[row, span] = torch.tensor([*prompt, *completion])
        mask[row, span] = 1
    return ids.to(device), mask.to(device)
