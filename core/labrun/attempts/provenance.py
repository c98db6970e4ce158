"""Where a run came from: code, packages, machine."""

import os
import platform
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import Distribution, distributions
from typing import Any

from labrun.attempts import memory
from labrun.attempts.repositories import OURS, Repository, repositories
from labrun.runs.run_dir import RunDir, write_json
from labrun.system.paths import component

ENVIRONMENT = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "HF_HUB_OFFLINE", "SLURM_JOB_ID")


def record(run: RunDir, *, seed: int) -> None:
    """Write provenance.json, and for each repository with uncommitted changes its diff.

    labrun's is code.diff, a plugin's in a repository of its own `code-<distribution>.diff`.
    """
    asked = repositories(run.experiment())
    packages = dict(map(_name_and_version, distributions()))  # while git works
    used = asked()
    for one in used:
        if one.diff:
            (run.path / _diff_name(one)).write_bytes(one.diff)
    own = {"seed": seed, "defaults": run.experiment().defaults}
    write_json(run.path / "provenance.json", _facts(used, packages) | own)


def _diff_name(repository: Repository) -> str:
    if OURS in repository.distributions:
        return "code.diff"
    return f"code-{component(repository.distributions[0])}.diff"


def _repository_facts(repository: Repository) -> dict[str, Any]:
    return {
        "root": str(repository.root),
        "distributions": repository.distributions,
        "commit": repository.commit,
        "changed": repository.changed,
        "diff": _diff_name(repository) if repository.diff else None,
        "untracked": repository.untracked,
    }


def _facts(used: Sequence[Repository], packages: Mapping[str, str]) -> dict[str, Any]:
    ours = next((one for one in used if OURS in one.distributions), None)
    return {
        "time": time.time(),
        "command": sys.argv,
        "git_commit": ours.commit if ours else None,
        "git_changed": ours.changed if ours else False,
        "repositories": [_repository_facts(one) for one in used],
        "python": sys.version,
        "packages": packages,
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "cpu": platform.processor() or platform.machine(),
        "cpu_count": os.cpu_count(),
        "memory_gib": round(memory.total() / 2**30, 1),
        "environment": {name: os.environ.get(name) for name in ENVIRONMENT},
    }


def _name_and_version(package: Distribution) -> tuple[str, str]:
    """As the package's metadata say, of which only the first lines are read: they end in a README,
    and to parse all of them takes a run's start half a second."""
    text = package.read_text("METADATA") or package.read_text("PKG-INFO") or ""
    lines = text.partition("\n\n")[0].splitlines()
    said = dict(line.split(": ", 1) for line in lines if line.startswith(("Name: ", "Version: ")))
    return said.get("Name", ""), said.get("Version", "")
