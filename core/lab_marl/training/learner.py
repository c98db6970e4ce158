"""What a training method is to the common loop."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from lab_marl.environments.interface import Policy
from lab_marl.episodes.batches import Batch


class Learner(Protocol):
    """One method: its networks, its losses, its optimizer."""

    def update(self, batch: Batch) -> dict[str, float]:
        """One update, on a batch of episodes of one task; its metrics.

        Raises DivergedError where the loss or the gradient is not finite.
        """
        ...

    def policy(self) -> Policy:
        """The greedy policy of the present weights; draws no random number."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that training goes on from: weights, targets, optimizer, counters."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@runtime_checkable
class Remarking(Protocol):
    """A learner that says how it computes on this machine."""

    def remarks(self) -> Sequence[str]:
        """What the reader of the run's results must know; recorded as notes."""
        ...


@runtime_checkable
class Resuming(Protocol):
    """A learner whose resume restores more than weights and optimizer, such as the kernel that it
    used."""

    def resume(self, state: dict[str, Any]) -> None:
        """`load_state_dict`, and whatever else makes the run go on as it began."""
        ...
