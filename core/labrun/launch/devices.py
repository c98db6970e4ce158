"""The devices of this machine: GPUs as nvidia-smi lists them, and CPU slots."""

import functools
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from labrun.errors import shown

ANSWER_S = 10.0
"""How long nvidia-smi may take: where a driver hangs, it never answers."""
QUERY = ("--query-gpu=index,memory.total,uuid", "--format=csv,noheader,nounits")
VISIBLE = "CUDA_VISIBLE_DEVICES"
HIDES_ALL = ("", "-1", "none", "void", "nodevfiles")
"""Words of CUDA_VISIBLE_DEVICES that hide on purpose what stands behind them."""
_INDEX = re.compile(r"[0-9]{1,6}")
_MIB = re.compile(r"(\d+(?:\.\d+)?)(?: MiB)?")
_GPU_LINE = re.compile(r"\s*GPU (\d+): .*\(UUID: (GPU-[^)\s]+)\)")
_MIG_LINE = re.compile(r"\s*MIG (\S+)\s+Device\s+\d+: \(UUID: (MIG-[^)\s]+)\)")


@dataclass(frozen=True)
class Device:
    """One GPU (`gpu0`), MIG part of a GPU or CPU slot (`cpu0`); memory in GiB, 0 where unknown.

    `mig` is the part's name, which CUDA takes in place of an index.
    """

    kind: str
    index: int
    memory_gib: float = 0.0
    mig: str = ""
    uuid: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        return f"{self.kind}{self.index}{f'.{self.mig}' if self.mig else ''}"

    @property
    def lock_name(self) -> str:
        """The lock's file: a GPU's UUID is the same in every container, its index is not."""
        return f"{(self.mig or self.uuid or self.name).replace('/', '_')}.lock"

    @property
    def size(self) -> str:
        unknown = self.kind == "gpu" and not self.memory_gib
        return "memory unknown" if unknown else f"{self.memory_gib:.1f} GiB"


@dataclass(frozen=True)
class Listing:
    """GPUs, and in one line what was wrong with finding them, or which are hidden."""

    gpus: tuple[Device, ...] = ()
    note: str = ""


def devices_here() -> list[Device]:
    """The visible GPUs that nvidia-smi lists, then one slot for each CPU of this process."""
    slots = (Device("cpu", i) for i in range(len(os.sched_getaffinity(0))))
    return [*gpus_here().gpus, *slots]


def gpus_here() -> Listing:
    """The GPUs of this machine that CUDA_VISIBLE_DEVICES does not hide."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return Listing()
    listing = _ask(program, os.stat(program).st_mtime_ns)
    seen = visible(listing.gpus, os.environ.get(VISIBLE))
    return Listing(seen.gpus, "; ".join(filter(None, (listing.note, seen.note))))


def visible(gpus: Sequence[Device], words: str | None) -> Listing:
    """The GPUs that CUDA shows for this CUDA_VISIBLE_DEVICES: indices, UUIDs, MIG names or the
    beginnings of such names. A word that names no GPU, or several, hides all behind it. A GPU that
    is named twice is one."""
    if words is None or not gpus:
        return Listing(tuple(gpus))
    chosen: dict[str, Device] = {}
    for word in (word.strip() for word in words.split(",")):
        named = _named(gpus, word)
        if named is None:
            return Listing(tuple(chosen.values()), _hidden(words, word, len(chosen), len(gpus)))
        chosen.setdefault(named.name, named)
    return Listing(tuple(chosen.values()), _hidden(words, "", len(chosen), len(gpus)))


def _hidden(words: str, wrong: str, shows: int, there: int) -> str:
    setting = f"{VISIBLE}={shown(words)}"
    if wrong.lower() not in HIDES_ALL:
        return f"{setting}: no GPU '{shown(wrong)}' here, which hides all from there on"
    return f"{setting} shows {shows} of {there} GPUs" if shows < there else ""


def _named(gpus: Sequence[Device], word: str) -> Device | None:
    """The one GPU that CUDA finds for the word; of a GPU in parts, its index means the first."""
    if _INDEX.fullmatch(word):
        return next((gpu for gpu in gpus if gpu.index == int(word)), None)
    start = word.lower()
    if start.startswith("gpu-"):
        found = {gpu.index: gpu for gpu in reversed(gpus) if gpu.uuid.lower().startswith(start)}
    elif start.startswith("mig-"):
        found = {gpu.mig: gpu for gpu in gpus if gpu.mig.lower().startswith(start)}
        found = found or {gpu.mig: gpu for gpu in _old_part(gpus, word)}
    else:
        return None
    return next(iter(found.values())) if len(found) == 1 else None


def _old_part(gpus: Sequence[Device], word: str) -> Iterable[Device]:
    """The part `MIG-GPU-UUID/3/0` of a GPU, which newer drivers take and do not list."""
    uuid, _, place = word[len("MIG-") :].partition("/")
    whole = next((gpu for gpu in gpus if gpu.uuid and gpu.uuid.lower() == uuid.lower()), None)
    if whole is not None and re.fullmatch(r"\d+/\d+", place):
        yield replace(whole, memory_gib=0.0, mig=word)


@functools.cache
def _ask(program: str, _changed_ns: int) -> Listing:
    """What nvidia-smi says; asked once, since a driver that hangs costs ANSWER_S each time."""
    lines, note = _answer(program, *QUERY)
    rows = [row.strip() for row in lines if row.strip()]
    gpus = {gpu.index: gpu for gpu in filter(None, map(_gpu, rows))}
    if strange := [row for row in rows if _gpu(row) is None]:
        note = note or f"nvidia-smi printed '{shown(strange[0])}', which names no GPU"
    if not gpus:
        return Listing((), note)
    details, fault = _answer(program, "-L")
    fault = fault.replace("nvidia-smi", "nvidia-smi -L", 1)
    return Listing(tuple(_in_parts(dict(sorted(gpus.items())), details)), note or fault)


def _answer(program: str, *words: str) -> tuple[list[str], str]:
    """The lines that nvidia-smi prints, and what went wrong."""
    try:
        process = subprocess.Popen(
            [program, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        return [], f"nvidia-smi cannot be started: {error.strerror}"
    try:
        out, err = process.communicate(timeout=ANSWER_S)
    except subprocess.TimeoutExpired:
        _give_up(process)
        return [], f"nvidia-smi did not answer within {ANSWER_S:g} s"
    if process.returncode == 0:
        return out.splitlines(), ""
    said = next((line.strip() for line in f"{err}\n{out}".splitlines() if line.strip()), "no word")
    return out.splitlines(), f"nvidia-smi failed with exit code {process.returncode}: {shown(said)}"


def _give_up(process: subprocess.Popen[str]) -> None:
    """Kill it and what it started. One that hangs in the driver dies later, or never: no wait."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(1.0)
    for pipe in filter(None, (process.stdout, process.stderr)):
        pipe.close()


def _gpu(row: str) -> Device | None:
    """The GPU of one line of the query; None of a line that is none."""
    cells = [cell.strip() for cell in row.split(",")]
    if len(cells) < 2 or not _INDEX.fullmatch(cells[0]):
        return None
    uuid = next((cell for cell in cells if cell.startswith("GPU-")), "")
    return Device("gpu", int(cells[0]), _gib(cells[1]), uuid=uuid)


def _gib(mib: str) -> float:
    """GiB from nvidia-smi's MiB; 0 where it does not know ([N/A])."""
    match = _MIB.fullmatch(mib)
    return float(match[1]) / 1024 if match else 0.0


def _in_parts(gpus: Mapping[int, Device], lines: Iterable[str]) -> Iterable[Device]:
    """The GPUs with the UUIDs of `nvidia-smi -L`; in place of a GPU in MIG parts, its parts."""
    uuids: dict[int, str] = {}
    parts: dict[int, list[Device]] = {}
    index = -1
    for line in lines:
        if gpu := _GPU_LINE.match(line):
            index = int(gpu[1])
            uuids[index] = gpu[2]
        elif part := _MIG_LINE.match(line):
            gib = re.search(r"(\d+)gb", part[1])
            memory = float(gib[1]) if gib else 0.0
            parts.setdefault(index, []).append(Device("gpu", index, memory, mig=part[2]))
    for index, gpu in gpus.items():
        uuid = gpu.uuid or uuids.get(index, "")
        for device in parts.get(index, [gpu]):
            yield replace(device, uuid=uuid)
