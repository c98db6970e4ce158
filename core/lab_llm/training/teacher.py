"""The teacher: the same policy, given a correct solution, scoring the student's tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from labrun.errors import LabError
from torch import Tensor

from lab_llm.problems import Problem
from lab_llm.training.credit import Context

LogProbs = Callable[[Tensor, Tensor, int], Tensor]
"""(input_ids (b, S), attention_mask (b, S), T) -> log-probabilities of the last T tokens (b, T)."""


@dataclass(frozen=True)
class Group:
    """The rollouts of all ranks in their order: decoded texts and rewards, G to a prompt."""

    texts: Sequence[str]
    rewards: Sequence[float]
    size: int

    def correct_sibling(
        self,
        row: int,
        seed: Callable[[int], np.random.Generator],
        *,
        allow_itself: bool = True,
    ) -> str | None:
        """A correct rollout of the row's group: another one where there is one, else itself.

        None where there is no such rollout, or only itself and that is not allowed.

        One is drawn for the whole group, and a second one for the first itself, so that the
        teacher reads two contexts a group and not one a rollout. `seed` gives a generator for a
        group's number.
        """
        start = row - row % self.size
        correct = [i for i in range(start, start + self.size) if self.rewards[i] == 1.0]
        if not correct or (correct == [row] and not allow_itself):
            return None
        first, second = seed(start // self.size).permutation(correct)[[0, min(1, len(correct) - 1)]]
        return self.texts[int(second if row == first else first)]


def solution_for(
    problem: Problem,
    context: Context,
    group: Group,
    row: int,
    seed: Callable[[int], np.random.Generator],
) -> tuple[str, Context]:
    """The teacher's solution and what it is: `reference_solution` falls back to the answer."""
    if context == "sibling":
        sibling = group.correct_sibling(row, seed)
        if sibling is None:
            raise LabError(f"no correct rollout of {problem.id} to give to the teacher")
        return sibling, "sibling"
    if context == "reference_solution" and problem.solution is not None:
        return problem.solution, "reference_solution"
    return problem.answer, "answer"


@torch.no_grad()
def score(
    logprobs: LogProbs,
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
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
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    pad_token_id: int,
    device: torch.device | str,
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
