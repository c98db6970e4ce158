"""What the compiled kernel can serve, and whether a run takes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from labrun.errors import LabError

from lab_marl.episodes.layouts import Layout
from lab_marl.kernel.unroll import MOST_TOKENS

Path = Literal["torch", "cpp", "cuda_graph"]
WIDTHS = 32
"""A token's width is a multiple of it: two vectors of the widest processor."""
MOST_WIDTH, MOST_HIDDEN = 512, 2048
"""Its scratch lies on the stack, which a wider network would overrun."""
LONG_RUN = 200
"""Steps from which `auto` takes the kernel. To compile it takes what it saves in about 50 steps of
the default run."""
Fits = tuple[bool, str, str]
"""(whether a setting suits the kernel, the setting, what would)."""


@dataclass(frozen=True)
class Choice:
    """The path of a run, and why it is this one."""

    path: Path
    why: str

    def __str__(self) -> str:
        return f"{self.path} ({self.why})"


def chosen(kernel: Literal["auto", "cpp"], reason: str, *, key: str, max_steps: int) -> Choice:
    """The path where the kernel cannot serve for `reason`, or can, which is the empty text."""
    if kernel == "cpp":
        if reason:
            raise LabError(f"{key}=cpp: {reason}; set {key}=torch or auto")
        return Choice("cpp", "as set")
    if not reason and max_steps < LONG_RUN:
        reason = f"trainer.max_steps={max_steps} is below {LONG_RUN}"
    return Choice("torch", reason) if reason else Choice("cpp", "built for this processor")


def refuses_device(device: str) -> str:
    if device == "cpu":
        return ""
    return f"the compiled kernel is for the CPU, the networks lie on {device}"


def fits_sizes(width: int, ffn_factor: int, heads: int) -> list[Fits]:
    """Whether the kernel takes a block of these sizes."""
    return [
        (width % WIDTHS == 0, f"width={width}", f"a multiple of {WIDTHS}"),
        (width <= MOST_WIDTH, f"width={width}", f"at most {MOST_WIDTH}"),
        (
            width * ffn_factor <= MOST_HIDDEN,
            f"ffn_factor={ffn_factor}",
            f"at most {MOST_HIDDEN} hidden units",
        ),
        (heads == 1, f"heads={heads}", "1"),
    ]


def refuses_settings(settings: Sequence[Fits], *, section: str) -> str:
    """The first setting that does not suit the kernel; empty where all do."""
    for fits, got, wanted in settings:
        if not fits:
            return f"{section}.{got}, the compiled kernel takes {wanted}"
    return ""


def refuses_tasks(layouts: Sequence[Layout], *, of_each: int = 1) -> str:
    """The first task with too many tokens, `of_each` entity and two histories; empty where there is
    none."""
    for layout in layouts:
        tokens = of_each * (1 + layout.enemies.count + layout.allies.count) + 2
        if tokens > MOST_TOKENS:
            return (
                f"task {layout.task!r} has {tokens} tokens, the compiled kernel takes {MOST_TOKENS}"
            )
    return ""
