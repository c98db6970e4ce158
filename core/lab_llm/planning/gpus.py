"""Whether what a training keeps on a GPU fits into the one that is here."""

from collections.abc import Mapping

from labrun.errors import LabError

from lab_llm.planning.estimates import GIB

KEPT = ("weights", "gradients", "optimizer", "copies")
"""Parts of a plan of memory that stay from step to step: these are counted, not estimated."""


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
