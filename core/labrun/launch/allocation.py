"""The devices that a scheduler has given to this job: nobody else may take them."""

import os
from dataclasses import dataclass

from labrun.errors import LabError
from labrun.experiment import ResourcesConfig
from labrun.launch.devices import VISIBLE, Device, gpus_here
from labrun.launch.leases import Lease


@dataclass(frozen=True)
class Allocation:
    """It has no locks, since the scheduler keeps other jobs away."""

    devices: tuple[Device, ...]

    def refuse_infeasible(self, wanted: ResourcesConfig) -> None:
        """Raise LabError where the scheduler gave less than the run asks for."""
        if len(self.devices) < wanted.num_gpus:
            got = os.environ.get(VISIBLE, "")
            raise LabError(
                f"resources.num_gpus={wanted.num_gpus}: the scheduler gave {len(self.devices)} "
                f"({VISIBLE}={got}); ask for them in its script"
            )
        small = [gpu for gpu in self.devices if 0 < gpu.memory_gib < wanted.min_gpu_memory_gib]
        if small:
            raise LabError(
                f"resources.min_gpu_memory_gib={wanted.min_gpu_memory_gib:g}: the scheduler gave "
                f"{small[0].name} with {small[0].size}; name a kind of GPU, such as slurm.gpu_type"
            )

    def acquire(self, wanted: ResourcesConfig, *, holder: str) -> Lease | None:
        """All of them, or none for a run that asks for no GPU."""
        return Lease(self.devices if wanted.num_gpus else (), ())

    def holder(self, device: Device) -> str | None:
        return None


def allocation_here() -> Allocation:
    """The GPUs that CUDA_VISIBLE_DEVICES names, with their memory where nvidia-smi knows it."""
    words = [word.strip() for word in os.environ.get(VISIBLE, "").split(",") if word.strip()]
    known = gpus_here().gpus
    if len(known) == len(words):
        return Allocation(tuple(known))
    return Allocation(tuple(_named(place, word) for place, word in enumerate(words)))


def _named(place: int, word: str) -> Device:
    return Device("gpu", int(word)) if word.isdecimal() else Device("gpu", place, mig=word)
