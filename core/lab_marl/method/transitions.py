"""What a method's loss is computed from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Transitions:
    """The transitions of a batch of episodes of one task, one row each.

    n agents, a actions. No row is padding, so that a mean over rows needs no mask.
    """

    scores: "Tensor"
    """(rows, n, a): the network's number for each action; the policy takes the largest one among
    the available actions."""
    actions: "Tensor"
    """(rows, n) int64: what the agents of the dataset did."""
    avail_actions: "Tensor"
    """(rows, n, a) bool."""
    obs: "Tensor"
    """(rows, n, o)."""
    state: "Tensor"
    """(rows, s)."""
    reward: "Tensor"
    """(rows,): the team's."""
    returns_to_go: "Tensor"
    """(rows,): the rewards from this step to the end of the episode, undiscounted."""
    terminated: "Tensor"
    """(rows,): 1 where the step ended the episode, 0 elsewhere."""

    @property
    def cross_entropy(self) -> "Tensor":
        """(rows,): -log softmax(scores) of the dataset's actions, the mean over the agents. Its
        mean over the rows is behaviour cloning."""
        from lab_marl.cloning.objectives import action_cross_entropy

        return action_cross_entropy(self.scores, self.actions).mean(1)


def transitions_of(
    *,
    scores: Sequence[Sequence[float]],
    actions: Sequence[int],
    returns_to_go: Sequence[float],
) -> Transitions:
    """One agent's transitions, for the test of a method's loss.

    `scores` are (rows, a), the others (rows,). Every action is available; obs and state are empty.
    Each row is an episode of one step, so that its reward is its return.
    """
    import torch

    numbers = torch.tensor(scores, dtype=torch.float32)[:, None]
    returns = torch.tensor(returns_to_go, dtype=torch.float32)
    return Transitions(
        scores=numbers,
        actions=torch.tensor(actions)[:, None],
        avail_actions=torch.ones_like(numbers, dtype=torch.bool),
        obs=numbers[..., :0],
        state=numbers[:, 0, :0],
        reward=returns,
        returns_to_go=returns,
        terminated=torch.ones_like(returns),
    )
