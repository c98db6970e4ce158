"""Where a section runs, and for how long."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch

Row = Mapping[str, object]
Rows = Iterator[Row]


@dataclass(frozen=True)
class Place:
    """The device under test, and whether the section takes its small form."""

    device: Literal["cuda", "cpu"]
    is_small: bool
    seconds: float
    """Time that the section has (s)."""

    @property
    def devices(self) -> tuple[str, ...]:
        """The CPU, and the device under test beside it."""
        return ("cpu",) if self.device == "cpu" else ("cpu", self.device)

    def wait(self) -> None:
        """Return when the device has done all that it was given."""
        if self.device == "cuda":
            torch.cuda.synchronize()
