"""The GPU that a run gets, and whether it can do a training: its precision and its memory."""

from collections.abc import Mapping
from dataclasses import dataclass

from labrun.errors import LabError
from labrun.plan import Setup

from lab_llm.planning.estimates import GIB
from lab_llm.planning.process_memory import KEPT
from lab_llm.policy.config import PolicyConfig


@dataclass(frozen=True)
class KnownGPU:
    """The smallest GPU that a run may get."""

    memory: float
    """Bytes."""
    is_here: bool
    """Whether it is this machine's; else the run asks for one of this size."""

    @property
    def gib(self) -> str:
        """Its memory, as a GPU's."""
        size = f"{self.memory / GIB:.3g}"
        owner = "this GPU's" if self.is_here else "resources.min_gpu_memory_gib's"
        return f"{owner} {size} GiB"

    @property
    def larger(self) -> str:
        """How to get more."""
        return "take a larger GPU" if self.is_here else "raise resources.min_gpu_memory_gib"


def known_gpu(setup: Setup) -> KnownGPU | None:
    """The smallest of this machine's that has `min_gpu_memory_gib`, or else one of this size; None
    where neither is known."""
    import torch

    least, cuda = setup.min_gpu_memory_gib * GIB, torch.cuda
    here = range(cuda.device_count()) if cuda.is_available() else ()
    sizes = [float(cuda.get_device_properties(device).total_memory) for device in here]
    fitting = [size for size in sizes if size >= least]
    if fitting:
        return KnownGPU(min(fitting), is_here=True)
    return KnownGPU(least, is_here=False) if least else None


def check_kept(parts: Mapping[str, float], gpu: KnownGPU | None, *, advice: str) -> None:
    """LabError where the GPU is smaller than the parts (bytes) that stay in it."""
    kept = {name: parts[name] for name in KEPT if parts.get(name)}
    if gpu is None or sum(kept.values()) <= gpu.memory:
        return
    has = "this one has" if gpu.is_here else "resources.min_gpu_memory_gib asks for"
    named = ", ".join(f"{name} {size / GIB:.3g}" for name, size in kept.items())
    raise LabError(
        f"the training keeps {sum(kept.values()) / GIB:.3g} GiB on each GPU ({named}), and {has} "
        f"{gpu.memory / GIB:.3g}; with activations it needs {sum(parts.values()) / GIB:.3g}: "
        f"{advice}"
    )


def missing_precision(model: PolicyConfig) -> list[str]:
    """What the GPU that is here lacks for the trained model's precision."""
    import torch

    cuda = torch.cuda
    if model.dtype == "float32" or not cuda.is_available():
        return []
    if cuda.is_bf16_supported(including_emulation=False):
        return []
    return [
        "trainer.model.dtype=bfloat16: this GPU does not compute in it; "
        "trainer.model.dtype=float32, or another GPU"
    ]
