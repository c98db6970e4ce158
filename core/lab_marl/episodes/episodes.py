"""Episodes of one task as arrays, padded to a common length."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class Episodes:
    """E episodes of at most T frames; after its last frame an episode holds zeros.

    An episode of k transitions has k + 1 frames, `filled` at each of them; its last transition is
    frame k - 1, and frame k holds what was seen at the end.
    """

    obs: np.ndarray
    """[E, T, n, o] float32."""
    state: np.ndarray
    """[E, T, s] float32."""
    actions: np.ndarray
    """[E, T, n] int64, or [E, T, n, a] float32 where the task is continuous."""
    avail_actions: np.ndarray
    """[E, T, n, a] bool."""
    reward: np.ndarray
    """[E, T] float32, of the transition that begins at the frame."""
    terminated: np.ndarray
    """[E, T] bool: this transition ended the episode, and nothing comes after."""
    truncated: np.ndarray
    """[E, T] bool: this transition was the last one allowed, though the task was not over."""
    filled: np.ndarray
    """[E, T] bool."""

    def __len__(self) -> int:
        return self.obs.shape[0]

    @property
    def lengths(self) -> np.ndarray:
        """[E] frames of each episode (transitions + 1)."""
        return self.filled.sum(1).astype(np.int64)

    @property
    def returns(self) -> np.ndarray:
        """[E] undiscounted sums of rewards."""
        return self.reward.sum(1)

    def arrays(self) -> Iterator[tuple[str, np.ndarray]]:
        for field in fields(self):
            yield field.name, getattr(self, field.name)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(values.nbytes for _, values in self.arrays())

    def take(self, index: np.ndarray, *, frames: int | None = None) -> "Episodes":
        """The episodes at `index`, in that order, up to a frame; None: all frames."""
        return Episodes(**{name: values[index, :frames] for name, values in self.arrays()})
