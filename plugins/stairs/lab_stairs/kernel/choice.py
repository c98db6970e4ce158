"""Which path computes an update: torch's operations, the compiled kernel or CUDA graphs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lab_marl.episodes.layouts import Layout
from labrun.errors import LabError

from lab_stairs.config import NetworkConfig, StairsConfig
from lab_stairs.kernel.build import lacking
from lab_stairs.kernel.unroll import MOST_TOKENS, Kernel

Path = Literal["torch", "cpp", "cuda_graph"]
WIDTHS = 32
"""A token's width is a multiple of it: two vectors of the widest processor."""
MOST_WIDTH, MOST_HIDDEN = 512, 2048
"""Its scratch lies on the stack, which a wider network would overrun."""
LONG_RUN = 200
"""Steps from which `auto` takes the kernel. To compile it takes what it saves in about 50 steps of
the default run."""


@dataclass(frozen=True)
class Choice:
    """The path of a run, and why it is this one."""

    path: Path
    why: str

    def __str__(self) -> str:
        return f"{self.path} ({self.why})"


def choose(config: StairsConfig, layouts: Sequence[Layout], device: str) -> Choice:
    """The path that `trainer.kernel` asks for. Raises LabError for a kernel that cannot serve."""
    if config.kernel == "torch":
        return Choice("torch", "as set")
    if config.kernel == "cuda_graph" and device == "cpu":
        raise LabError(
            "trainer.kernel=cuda_graph needs a GPU, the networks lie on cpu; set "
            "resources.num_gpus=1, trainer.kernel=torch or auto"
        )
    if device != "cpu" and config.kernel != "cpp":
        return Choice("cuda_graph", "as set" if config.kernel == "cuda_graph" else "on a GPU")
    reason = refusal(config, layouts, device)
    if config.kernel == "cpp":
        if reason:
            raise LabError(f"trainer.kernel=cpp: {reason}; set trainer.kernel=torch or auto")
        return Choice("cpp", "as set")
    if not reason and config.max_steps < LONG_RUN:
        reason = f"trainer.max_steps={config.max_steps} is below {LONG_RUN}"
    return Choice("torch", reason) if reason else Choice("cpp", "built for this processor")


def refusal(config: StairsConfig, layouts: Sequence[Layout], device: str) -> str:
    """Why the kernel cannot serve these settings, tasks and machine; empty where it can."""
    if device != "cpu":
        return f"the compiled kernel is for the CPU, the networks lie on {device}"
    if config.no_grad_dtype != "float32":
        return f"the compiled kernel is for float32, trainer.no_grad_dtype={config.no_grad_dtype}"
    return _refuses_network(config.network) or _refuses_tasks(layouts) or lacking()


def open_kernel(config: NetworkConfig) -> Kernel:
    return Kernel(config.width, config.width * config.ffn_factor)


def _refuses_network(config: NetworkConfig) -> str:
    every = config.h_cycles if config.schedule == "published" else config.l_cycles
    allowed = (
        (config.width % WIDTHS == 0, f"width={config.width}", f"a multiple of {WIDTHS}"),
        (config.width <= MOST_WIDTH, f"width={config.width}", f"at most {MOST_WIDTH}"),
        (
            config.width * config.ffn_factor <= MOST_HIDDEN,
            f"ffn_factor={config.ffn_factor}",
            f"at most {MOST_HIDDEN} hidden units",
        ),
        (config.heads == 1, f"heads={config.heads}", "1"),
        (
            config.gradient == "one_step" or not config.spatial,
            f"gradient={config.gradient}",
            "one_step",
        ),
        (
            config.h_cycles * config.l_cycles - 1 < every or not config.spatial,
            f"h_cycles={config.h_cycles} l_cycles={config.l_cycles}",
            "such that block H is applied once",
        ),
    )
    for fits, got, wanted in allowed:
        if not fits:
            return f"trainer.network.{got}, the compiled kernel takes {wanted}"
    return ""


def _refuses_tasks(layouts: Sequence[Layout]) -> str:
    for layout in layouts:
        tokens = 3 + layout.enemies.count + layout.allies.count
        if tokens > MOST_TOKENS:
            return (
                f"task {layout.task!r} has {tokens} tokens, the compiled kernel takes {MOST_TOKENS}"
            )
    return ""
