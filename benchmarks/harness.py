"""What the benchmark scripts share: the machine's facts, spreads, and results as JSON."""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "transformers", "trl", "labrun")


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Options that every script has: where its JSON goes."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--out", type=Path, default=RESULTS / f"{name}.json", help="JSON result")
    return made


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least, greatest and number of the values."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "n": len(values),
    }


def show(found: Mapping[str, float], unit: str = "") -> str:
    """`1.21 (1.15 to 1.30)`, with the unit after the median."""
    return f"{found['median']:.4g}{unit} ({found['min']:.4g} to {found['max']:.4g})"


def machine() -> dict[str, Any]:
    """Facts about the machine and code; `load_average` says whether others were at work."""
    return {
        "time": time.strftime("%Y-%m-%d %H:%M"),
        "cpu": _cpu(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "commit": _commit(),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str | None:
    """The commit of the code, `+` after it where files differ from it; None outside a checkout."""
    where = ["git", "-C", str(Path(__file__).parent)]
    try:
        name = subprocess.run(
            [*where, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run([*where, "diff", "--quiet", "HEAD"], check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{name}+" if changed else name


def timed(command: Sequence[str], **variables: str) -> dict[str, float]:
    """Wall and CPU seconds of one command, with these environment variables; what it waited for
    counts, too."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | dict(variables))
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": wall, "cpu_s": cpu}


def keep_bytecode(folder: Path) -> None:
    """Let a second command find compiled modules, as a user's does, whatever this shell says."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(folder)


def write(out: Path, result: Mapping[str, Any]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"result   {out}")
