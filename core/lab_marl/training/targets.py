"""When target networks are copied."""

from typing import Any


class TargetClock:
    """Counts optimizer steps over all tasks.

    The published loop looks at a counter that moves by whole rounds over the tasks, and so copies
    after the first step of the round that follows; this one copies at the step itself.
    """

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
