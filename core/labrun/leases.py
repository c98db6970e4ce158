"""Exclusive use of GPUs and CPU slots by file locks, which the kernel frees when a job dies."""

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from labrun.errors import LabError
from labrun.run_config import ResourcesConfig


@dataclass(frozen=True)
class Device:
    """One GPU (`gpu0`) or CPU slot (`cpu0`); memory in GiB, 0 for a CPU slot."""

    kind: str
    index: int
    memory_gib: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.kind}{self.index}"


@dataclass(frozen=True)
class Lease:
    """Devices held through open lock files; a job inherits them and holds them while it lives."""

    devices: tuple[Device, ...]
    handles: tuple[int, ...]

    def gpus(self) -> str:
        """The value of CUDA_VISIBLE_DEVICES."""
        return ",".join(str(d.index) for d in self.devices if d.kind == "gpu")

    def release(self) -> None:
        for handle in self.handles:
            os.close(handle)


def devices_here() -> list[Device]:
    """The GPUs that nvidia-smi lists, then one slot for each CPU that this process may use."""
    return [*_gpus(), *(Device("cpu", i) for i in range(len(os.sched_getaffinity(0))))]


def _gpus() -> list[Device]:
    query = ["nvidia-smi", "--query-gpu=index,memory.total", "--format=csv,noheader,nounits"]
    try:
        rows = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    cells = [[cell.strip() for cell in row.split(",")] for row in rows.strip().splitlines()]
    found = [Device("gpu", int(index), _gib(mib)) for index, mib in cells]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return found
    return [device for device in found if str(device.index) in visible.split(",")]


def _gib(mib: str) -> float:
    """GiB from nvidia-smi's MiB; 0 where it does not know ([N/A])."""
    return float(mib) / 1024 if mib.replace(".", "").isdigit() else 0.0


def lease_folder() -> Path:
    """One folder a user and machine, so that two `lab` commands never share a GPU."""
    return Path(tempfile.gettempdir()) / f"labrun-{os.getuid()}" / "leases"


@dataclass(frozen=True)
class Pool:
    """The devices of this machine and where their locks lie."""

    devices: Sequence[Device]
    folder: Path

    def refuse_infeasible(self, wanted: ResourcesConfig) -> None:
        """Raise LabError where the request can never be met, or not now without waiting."""
        gpus = [d for d in self.devices if d.kind == "gpu"]
        fit = [d for d in gpus if d.memory_gib >= wanted.min_gpu_memory_gib]
        if len(fit) < wanted.num_gpus:
            size = f" of {wanted.min_gpu_memory_gib:g} GiB" if wanted.min_gpu_memory_gib else ""
            have = ", ".join(f"{d.name} ({d.memory_gib:.1f} GiB)" for d in gpus) or "no GPU"
            raise LabError(
                f"resources.num_gpus={wanted.num_gpus}: this machine has {len(fit)}{size} "
                f"(of: {have}); ask for fewer or smaller ones"
            )
        slots = sum(d.kind == "cpu" for d in self.devices)
        if wanted.num_cpus > slots:
            raise LabError(
                f"resources.num_cpus={wanted.num_cpus}: this machine has {slots} CPU slots"
            )
        holders = {d.name: holder for d in fit if (holder := self.holder(d))}
        if len(fit) - len(holders) < wanted.num_gpus and not wanted.wait:
            busy = ", ".join(f"{name} by {holder}" for name, holder in holders.items())
            raise LabError(
                f"resources.num_gpus={wanted.num_gpus}: only {len(fit) - len(holders)} GPUs are "
                f"free (held: {busy}); resources.wait=true waits for them"
            )

    def holder(self, device: Device) -> str | None:
        """Who holds the device now, or None."""
        path = self.folder / f"{device.name}.lock"
        if not path.exists():
            return None
        with open(path) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return lock.read().strip() or "another job"
        return None

    def acquire(self, wanted: ResourcesConfig, *, holder: str) -> Lease | None:
        """All devices of the request or none, at once; the smallest GPUs that do."""
        held: list[tuple[Device, int]] = []
        for kind, count in (("gpu", wanted.num_gpus), ("cpu", wanted.num_cpus)):
            taken = self._take(kind, count, wanted.min_gpu_memory_gib, holder)
            held += taken
            if len(taken) < count:
                for _, handle in held:
                    os.close(handle)
                return None
        return Lease(tuple(d for d, _ in held), tuple(h for _, h in held))

    def _take(self, kind: str, count: int, memory: float, holder: str) -> list[tuple[Device, int]]:
        least = memory if kind == "gpu" else 0.0
        fit = [d for d in self.devices if d.kind == kind and d.memory_gib >= least]
        taken: list[tuple[Device, int]] = []
        for device in sorted(fit, key=lambda d: (d.memory_gib, d.index)):
            if len(taken) == count:
                break
            handle = self._lock(device, holder)
            if handle is not None:
                taken.append((device, handle))
        return taken

    def _lock(self, device: Device, holder: str) -> int | None:
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.folder / f"{device.name}.lock", os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        os.ftruncate(handle, 0)
        os.pwrite(handle, holder.encode(), 0)
        return handle
