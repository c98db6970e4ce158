"""Exclusive use of GPUs and CPU slots by file locks, which the kernel frees when a job dies."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from labrun.errors import LabError
from labrun.experiment import ResourcesConfig
from labrun.launch.devices import Device, devices_here, gpus_here
from labrun.launch.lease_files import LockFiles, lease_folder

__all__ = ["Device", "Lease", "Pool", "devices_here", "lease_folder", "pool_here"]


@dataclass(frozen=True)
class Lease:
    """Devices held through open lock files; a job inherits them and holds them while it lives."""

    devices: tuple[Device, ...]
    handles: tuple[int, ...]

    def gpus(self) -> str:
        """The value of CUDA_VISIBLE_DEVICES: indices, or the name of a MIG part."""
        return ",".join(d.mig or str(d.index) for d in self.devices if d.kind == "gpu")

    def release(self) -> None:
        for handle in self.handles:
            os.close(handle)


@dataclass(frozen=True)
class Pool:
    """The devices of this machine and where their locks lie; `note` says why GPUs are missing."""

    devices: Sequence[Device]
    folder: Path
    note: str = ""

    def refuse_infeasible(self, wanted: ResourcesConfig) -> None:
        """Raise LabError where the request can never be met, or not now without waiting."""
        if wanted.num_nodes > 1:
            raise LabError(
                f"resources.num_nodes={wanted.num_nodes}: launcher=local uses this machine alone; "
                "launcher=slurm gives several"
            )
        gpus = [d for d in self.devices if d.kind == "gpu"]
        fit = [d for d in gpus if _fits(d, wanted)]
        if len(fit) < wanted.num_gpus:
            size = f" of {wanted.min_gpu_memory_gib:g} GiB" if wanted.min_gpu_memory_gib else ""
            have = ", ".join(f"{d.name} ({d.size})" for d in gpus) or "no GPU"
            parts = "a job takes one MIG part at most" if any(d.mig for d in gpus) else ""
            why = "".join(f"; {reason}" for reason in (self.note, parts) if reason)
            raise LabError(
                f"resources.num_gpus={wanted.num_gpus}: this machine has {len(fit)}{size} "
                f"(of: {have}){why}; ask for fewer or smaller ones"
            )
        slots = sum(d.kind == "cpu" for d in self.devices)
        if wanted.num_cpus > slots:
            raise LabError(
                f"resources.num_cpus={wanted.num_cpus}: this machine has {slots} CPU slots"
            )
        self.check()
        holders = self.holders(fit) if wanted.num_gpus and not wanted.wait else {}
        if len(fit) - len(holders) < wanted.num_gpus:
            busy = ", ".join(f"{name} by {holder}" for name, holder in holders.items())
            raise LabError(
                f"resources.num_gpus={wanted.num_gpus}: only {len(fit) - len(holders)} GPUs are "
                f"free (held: {busy}); resources.wait=true waits for them"
            )

    def check(self) -> None:
        """Raise LabError where the folder or a lock file in it is not this user's alone."""
        LockFiles(self.folder).check(d.lock_name for d in self.devices)

    def holders(self, devices: Iterable[Device]) -> dict[str, str]:
        """Device -> who holds it now, of those that are held."""
        files = LockFiles(self.folder)
        held = ((device.name, files.holder(device.lock_name)) for device in devices)
        return {name: holder for name, holder in held if holder is not None}

    def holder(self, device: Device) -> str | None:
        """Who holds the device now, or None."""
        return self.holders([device]).get(device.name)

    def acquire(self, wanted: ResourcesConfig, *, holder: str) -> Lease | None:
        """All devices of the request or none, at once; the smallest GPUs that do."""
        files = LockFiles(self.folder)
        held: list[tuple[Device, int]] = []
        for kind, count in (("gpu", wanted.num_gpus), ("cpu", wanted.num_cpus)):
            fit = [d for d in self.devices if d.kind == kind and _fits(d, wanted)]
            taken = _take(files, fit, count, holder)
            held += taken
            if len(taken) < count:
                for _, handle in held:
                    os.close(handle)
                return None
        return Lease(tuple(d for d, _ in held), tuple(h for _, h in held))


def pool_here() -> Pool:
    """The devices of this machine, with the locks of this user."""
    return Pool(devices_here(), lease_folder(), gpus_here().note)


def _fits(device: Device, wanted: ResourcesConfig) -> bool:
    """Whether the request could have this device; CUDA shows a process one MIG part at most."""
    if device.kind != "gpu":
        return True
    alone = not device.mig or wanted.num_gpus < 2
    return alone and device.memory_gib >= wanted.min_gpu_memory_gib


def _take(
    files: LockFiles, fit: Iterable[Device], count: int, holder: str
) -> list[tuple[Device, int]]:
    taken: list[tuple[Device, int]] = []
    for device in sorted(fit, key=lambda d: (d.memory_gib, d.index, d.mig)):
        if len(taken) == count:
            break
        handle = files.take(device.lock_name, holder=holder)
        if handle is not None:
            taken.append((device, handle))
    return taken
