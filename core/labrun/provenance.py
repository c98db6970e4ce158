"""Where a run came from: code, packages, machine."""

import os
import platform
import socket
import subprocess
import sys
import time
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import psutil

import labrun
from labrun.run_dir import RunDir, write_json

ENVIRONMENT = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "HF_HUB_OFFLINE", "SLURM_JOB_ID")


def record(run: RunDir, *, seed: int) -> None:
    """Write provenance.json (and code.diff where the code has uncommitted changes)."""
    code = Path(labrun.__file__).parent
    diff = _git(code, "diff", "HEAD")
    if diff:
        (run.path / "code.diff").write_text(diff)
    write_json(run.path / "provenance.json", _facts(code, bool(diff)) | {"seed": seed})


def _facts(code: Path, changed: bool) -> dict[str, Any]:
    return {
        "time": time.time(),
        "command": sys.argv,
        "git_commit": _git(code, "rev-parse", "HEAD").strip() or None,
        "git_changed": changed,
        "python": sys.version,
        "packages": {d.name: d.version for d in distributions()},
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "cpu": platform.processor() or platform.machine(),
        "cpu_count": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "environment": {name: os.environ.get(name) for name in ENVIRONMENT},
    }


def _git(folder: Path, *words: str) -> str:
    """Git's answer about the code, or nothing where it is not a checkout."""
    try:
        asked = ["git", "-C", str(folder), *words]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
