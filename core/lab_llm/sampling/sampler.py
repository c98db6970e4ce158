"""A decode loop for small models on the CPU: no work per token beyond the model's own.

It differs from transformers' `generate` in what costs time there: one preallocated cache, fused
projections, rows that leave the batch at the step they finish, one prefill for all samples of a
prompt, and one random number per token. Greedy output is the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from labrun.errors import DivergedError, LabError
from torch import Tensor

from lab_llm.policy.beats import no_beat
from lab_llm.policy.engine import Beat
from lab_llm.sampling.decoder import Cache, Decoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LARGEST_UNIFORM = 1 - 2**-22
"""Keeps a uniform number times the sum of the probabilities below that sum in float32."""


@dataclass(frozen=True)
class Samples:
    """Sampled completions, row `i * num_samples + j` being sample j of prompt i.

    `completion_ids` end with the end token where `finished`, else at max_new_tokens. `logprobs`
    (nats) belong to those tokens: log-softmax of logits / temperature over the whole vocabulary,
    before top_k and top_p; at temperature 0 that of the logits.
    """

    completion_ids: list[list[int]]
    logprobs: list[list[float]]
    finished: list[bool]

    @property
    def num_tokens(self) -> int:
        """Sampled tokens, end tokens among them (count)."""
        return sum(map(len, self.completion_ids))


@torch.inference_mode()
def sample(
    model: "PreTrainedModel",
    prompts: Sequence[Sequence[int]],
    *,
    num_samples: int = 1,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    eos_token_ids: Sequence[int],
    pad_token_id: int,
    generator: torch.Generator | None = None,
    beat: Beat = no_beat,
) -> Samples:
    """`num_samples` completions of every prompt (token ids), in the order of the prompts.

    `temperature` 0 is greedy; `top_k` 0 and `top_p` 1 keep the whole vocabulary. Randomness comes
    from `generator` alone, which may be None when greedy: equal generators give equal completions,
    and a row's random numbers do not depend on when other rows end. The numbers are drawn on the
    generator's own device: with one on the CPU they are the same wherever the model lies. Weights
    are read anew at each call. `beat` is called before each token. Raises LabError for an
    architecture outside `decoder.ARCHITECTURES`, for settings that the decoder lacks (sliding
    windows, biases), and for sequences longer than the model's positions; DivergedError for logits
    that are not finite.
    """
    picker = Picker(temperature, top_p, top_k)
    decoder = Decoder(model)
    longest = max(map(len, prompts), default=0)
    _check(prompts, num_samples, longest + max_new_tokens, temperature, generator, model)
    device, num_rows = model.device, len(prompts) * num_samples
    uniforms = _uniforms((max_new_tokens, num_rows), generator if temperature > 0 else None)
    uniforms = uniforms.to(device)
    ids = torch.full((len(prompts), longest), pad_token_id, device=device)
    is_real = torch.zeros(ids.shape, dtype=torch.bool, device=device)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt, device=device)
        is_real[row, longest - len(prompt) :] = True

    tokens = torch.full((num_rows, max_new_tokens), pad_token_id, device=device)
    logprobs = torch.zeros(num_rows, max_new_tokens, device=device)
    ends = torch.tensor(eos_token_ids, dtype=torch.long, device=device)
    rows = torch.arange(num_rows, device=device)
    finished, lengths = torch.zeros_like(rows, dtype=torch.bool), torch.zeros_like(rows)
    cache = Cache(decoder, is_real, num_samples, max_new_tokens)
    logits = decoder.prefill(ids, is_real, cache)
    _check_finite(logits)
    for step in range(max_new_tokens):
        beat()
        token, logprob = picker(logits, uniforms[step, rows])
        tokens[rows, step], logprobs[rows, step], lengths[rows] = token, logprob, step + 1
        ended = torch.isin(token, ends)
        if ended.any():
            finished[rows[ended]] = True
            rows, token = cache.drop(ended, rows, token)
        if step == max_new_tokens - 1 or not len(rows):
            break
        logits = decoder.decode(token, cache)
    _check_finite(logprobs)
    return _as_lists(tokens, logprobs, lengths, finished)


def _check(
    prompts: Sequence[Sequence[int]],
    num_samples: int,
    length: int,
    temperature: float,
    generator: torch.Generator | None,
    model: "PreTrainedModel",
) -> None:
    if not all(prompts) or not prompts or num_samples < 1:
        raise LabError("sampling needs num_samples >= 1 and prompts of at least one token")
    if temperature > 0 and generator is None:
        raise LabError(f"temperature={temperature} needs a generator; 0 is greedy and needs none")
    positions = model.config.max_position_embeddings
    if length > positions:
        raise LabError(
            f"longest prompt + max_new_tokens = {length} tokens; the model takes {positions}"
        )


def _uniforms(shape: tuple[int, int], generator: torch.Generator | None) -> Tensor:
    """Random numbers in [0, 1) on the generator's device; zeros without one."""
    if generator is None:
        return torch.zeros(shape)
    drawn = torch.zeros(shape, device=generator.device)
    return drawn.uniform_(generator=generator).clamp_(max=LARGEST_UNIFORM)


def _check_finite(values: Tensor) -> None:
    if not values.isfinite().all():
        raise DivergedError("the model's logits are not finite")


def _as_lists(tokens: Tensor, logprobs: Tensor, lengths: Tensor, finished: Tensor) -> Samples:
    cuts = lengths.tolist()
    return Samples(
        completion_ids=[row[:n] for row, n in zip(tokens.tolist(), cuts, strict=True)],
        logprobs=[row[:n] for row, n in zip(logprobs.tolist(), cuts, strict=True)],
        finished=finished.tolist(),
    )


class Picker:
    """Chooses tokens from logits: the inverse of the distribution function at a uniform number."""

    def __init__(self, temperature: float, top_p: float, top_k: int):
        if temperature < 0 or not 0 < top_p <= 1 or top_k < 0:
            raise LabError(
                f"temperature={temperature}, top_p={top_p}, top_k={top_k}; allowed: "
                "temperature >= 0, 0 < top_p <= 1, top_k >= 0"
            )
        self.temperature, self.top_p, self.top_k = temperature, top_p, top_k

    def __call__(self, logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (N,) and their logprobs (N,) for logits (N, V) and numbers in [0, 1) (N,).

        Where logits are NaN, so is the logprob, of some token.
        """
        logits = logits.float()
        if self.temperature == 0:
            token = logits.argmax(-1)
            return token, logits.log_softmax(-1).gather(1, token[:, None])[:, 0]
        probs = (logits if self.temperature == 1 else logits / self.temperature).softmax(-1)
        cumulative = self._kept(probs).cumsum(-1)
        # The first entry above u * total, so that a token of probability 0 is never chosen.
        threshold = uniform[:, None] * cumulative[:, -1:]
        token = torch.searchsorted(cumulative, threshold, right=True)
        token.clamp_(max=logits.shape[-1] - 1)  # beyond the vocabulary where the sums are NaN
        return token[:, 0], probs.gather(1, token)[:, 0].log_()

    def _kept(self, probs: Tensor) -> Tensor:
        """The probabilities with what lies outside the top_k and then the nucleus set to 0."""
        if self.top_k and self.top_k < probs.shape[-1]:
            least = probs.topk(self.top_k).values[:, -1:]
            probs = probs.where(probs >= least, 0.0)
        if self.top_p < 1:
            ordered, order = probs.sort(descending=True)
            mass_before = ordered.cumsum(-1) - ordered
            outside = mass_before >= self.top_p * ordered.sum(-1, keepdim=True)
            probs = torch.zeros_like(probs).scatter_(1, order, ordered.masked_fill(outside, 0.0))
        return probs
