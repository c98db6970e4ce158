"""How long to wait until something that failed is tried again."""

import time
from dataclasses import dataclass, field

LONGEST_S = 60.0


@dataclass
class Pauses:
    """Pauses that double with each failure of the same thing, up to a minute."""

    first_s: float = 1.0
    _until: dict[str, float] = field(default_factory=dict)
    _length: dict[str, float] = field(default_factory=dict)

    def holds(self, name: str) -> bool:
        """Whether it is too early to try this again."""
        return time.monotonic() < self._until.get(name, 0.0)

    def failed(self, name: str) -> bool:
        """Wait longer than before; returns whether it had worked until now."""
        first = name not in self._length
        self._length[name] = min(2 * self._length.get(name, self.first_s / 2), LONGEST_S)
        self._until[name] = time.monotonic() + self._length[name]
        return first

    def worked(self, name: str) -> bool:
        """Forget the failures; returns whether there were any."""
        self._until.pop(name, None)
        return self._length.pop(name, None) is not None

    def end(self) -> None:
        """Everything may be tried at once."""
        self._until.clear()
