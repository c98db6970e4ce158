"""When target networks are copied."""

from typing import Any


class TargetClock:
    """Counts updates over all tasks: due at every `every`-th of them."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.steps = 0

    def tick(self) -> bool:
        """Count one step; True where the targets are due."""
        self.steps += 1
        return self.steps % self.every == 0

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]


class RoundClock:
    """The published loop's clock: a counter that moves by whole rounds over the tasks.

    It is looked at after a round's first step: due where the rounds before it have `every` steps or
    more since the last copy. With 80 and two tasks that is after step 81 and then every 80, with
    three after step 82 and then every 81.
    """

    def __init__(self, every: int, *, num_tasks: int) -> None:
        self.every, self.num_tasks = every, num_tasks
        self.steps = 0
        self.copied_at = 0
        """Steps of the rounds before the last copy."""

    def tick(self) -> bool:
        """Count one step; True where the targets are due."""
        begins_round = self.steps % self.num_tasks == 0
        due = begins_round and self.steps - self.copied_at >= self.every
        if due:
            self.copied_at = self.steps
        self.steps += 1
        return due

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "copied_at": self.copied_at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps, self.copied_at = state["steps"], state["copied_at"]
