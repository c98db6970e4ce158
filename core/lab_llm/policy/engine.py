"""What samples from a policy, and how: the interface of every engine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

Completions = dict[int, list[list[int]]]
"""A prompt's index -> the token ids of its samples, end tokens included."""
Beat = Callable[[], None]


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn; `top_k` 0 and `top_p` 1 keep the whole vocabulary."""

    num_samples: int
    temperature: float
    top_p: float
    top_k: int
    max_new_tokens: int
    batch_size: int
    """Completions at a time (count)."""
    end_token_ids: tuple[int, ...]

    @property
    def prompts_at_a_time(self) -> int:
        return max(1, self.batch_size // self.num_samples)


@dataclass(frozen=True)
class Share:
    """Which part of the prompts this process samples."""

    rank: int = 0
    world_size: int = 1


@runtime_checkable
class Samples(Protocol):
    """An evaluator that samples with the policy's engine."""

    def most_tokens(self, policy: Any, data: Any) -> int:
        """Its longest prompt with its completion (tokens)."""
        ...


class Engine(Protocol):
    """Samples completions of prompts.

    `policy.engine`, where a trainer sets it, is one that already holds the policy's weights.
    """

    name: str

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        seed: int,
        share: Share,
        beat: Beat,
    ) -> Completions:
        """Completions of this share of `prompts` (token ids).

        The shares of all ranks hold every prompt once, and the same completions whatever their
        number is. `beat` is called after each batch.
        """
        ...
