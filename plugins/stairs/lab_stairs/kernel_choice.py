"""Which path computes an update: torch's operations, the compiled kernel or CUDA graphs."""

from collections.abc import Sequence

from lab_marl.episodes.layouts import Layout
from lab_marl.kernel.build import lacking
from lab_marl.kernel.choice import (
    Choice,
    chosen,
    fits_sizes,
    refuses_device,
    refuses_settings,
    refuses_tasks,
)
from lab_marl.kernel.unroll import Kernel
from labrun.errors import LabError

from lab_stairs.config import NetworkConfig, StairsConfig


def choose(config: StairsConfig, layouts: Sequence[Layout], device: str) -> Choice:
    """The path that `trainer.kernel` asks for. Raises LabError for a kernel that cannot serve."""
    if config.kernel == "torch":
        return Choice("torch", "as set")
    if config.kernel == "cuda_graph" and device == "cpu":
        raise LabError(
            "trainer.kernel=cuda_graph needs a GPU, the networks lie on cpu; set "
            "resources.num_gpus=1, trainer.kernel=torch or auto"
        )
    if config.kernel == "cuda_graph":
        return Choice("cuda_graph", "as set")
    if device != "cpu" and config.kernel == "auto":
        return Choice("cuda_graph", "on a GPU")
    reason = refusal(config, layouts, device)
    return chosen(config.kernel, reason, key="trainer.kernel", max_steps=config.max_steps)


def refusal(config: StairsConfig, layouts: Sequence[Layout], device: str) -> str:
    """Why the kernel cannot serve these settings, tasks and machine; empty where it can."""
    if reason := refuses_device(device):
        return reason
    if config.no_grad_dtype != "float32":
        return f"the compiled kernel is for float32, trainer.no_grad_dtype={config.no_grad_dtype}"
    return _refuses_network(config.network) or refuses_tasks(layouts) or lacking()


def open_kernel(config: NetworkConfig) -> Kernel:
    return Kernel(config.width, config.width * config.ffn_factor)


def _refuses_network(config: NetworkConfig) -> str:
    every = config.h_cycles if config.schedule == "published" else config.l_cycles
    settings = [
        *fits_sizes(config.width, config.ffn_factor, config.heads),
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
    ]
    return refuses_settings(settings, section="trainer.network")
