"""Whether the GPU that is here can do a training: its precision, and what stays in its memory."""

from collections.abc import Mapping

from labrun.errors import LabError

from lab_llm.planning.estimates import GIB
from lab_llm.planning.process_memory import KEPT
from lab_llm.policy.config import PolicyConfig


def check_kept(parts: Mapping[str, float], *, advice: str) -> None:
    """LabError where a GPU is here, and smaller than the parts (bytes) that stay in it."""
    import torch

    if not torch.cuda.is_available():
        return
    whole = torch.cuda.get_device_properties(0).total_memory
    kept = {name: parts[name] for name in KEPT if parts.get(name)}
    if sum(kept.values()) <= whole:
        return
    named = ", ".join(f"{name} {size / GIB:.3g}" for name, size in kept.items())
    raise LabError(
        f"the training keeps {sum(kept.values()) / GIB:.3g} GiB on each GPU ({named}), and this "
        f"one has {whole / GIB:.3g}; with activations it needs {sum(parts.values()) / GIB:.3g}: "
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
