"""Where the entities of a task lie in its observation, state and action vectors."""

from collections.abc import Sequence
from dataclasses import dataclass

from labrun.errors import LabError


@dataclass(frozen=True)
class EntityBlock:
    """`count` entities of `width` numbers each, side by side from `start`."""

    start: int
    count: int
    width: int

    @property
    def stop(self) -> int:
        return self.start + self.count * self.width


@dataclass(frozen=True)
class Layout:
    """One task as the network sees it.

    "Enemies" are whatever the team faces: opponents, landmarks, prey, or the joints that an agent
    moves. The first `num_non_attack` actions name no entity; with `attacks`, action
    `num_non_attack + i` attacks enemy i. In a continuous task the action is one number in [-1, 1]
    for each enemy token (joint), and there is no discrete action.
    """

    task: str
    family: str
    num_agents: int
    num_enemies: int
    num_non_attack: int
    attacks: bool
    obs_size: int
    state_size: int
    own: tuple[tuple[int, int], ...]
    """(start, stop) ranges of the agent's own features in its observation, in order."""
    allies: EntityBlock
    enemies: EntityBlock
    state_allies: EntityBlock
    state_enemies: EntityBlock
    episode_limit: int
    """Transitions after which an episode is cut off."""
    state_actions: int | None = None
    """Where the agents' last actions (one-hot, `num_actions` each) begin in the state."""
    continuous: bool = False

    @property
    def num_actions(self) -> int:
        """Discrete actions of an agent, or numbers in its continuous action."""
        if self.continuous:
            return self.num_enemies
        return self.num_non_attack + (self.num_enemies if self.attacks else 0)

    @property
    def own_width(self) -> int:
        return sum(stop - start for start, stop in self.own)

    @property
    def signature(self) -> dict[str, object]:
        """What tasks must have in common so that one network can serve them all."""
        return {
            "own features": self.own_width,
            "ally features": self.allies.width,
            "enemy features": self.enemies.width,
            "ally state features": self.state_allies.width,
            "enemy state features": self.state_enemies.width,
            "non-attack actions": self.num_non_attack,
            "attack actions": self.attacks,
            "actions in the state": self.state_actions is not None,
            "continuous": self.continuous,
        }


def check_one_network(layouts: Sequence[Layout]) -> None:
    """Raises LabError naming the first two tasks that one network cannot serve, and why."""
    first = layouts[0]
    for other in layouts[1:]:
        for name, value in first.signature.items():
            if other.signature[name] != value:
                raise LabError(
                    f"tasks {first.task!r} and {other.task!r} cannot share one network: "
                    f"{name} {value} against {other.signature[name]}"
                )
