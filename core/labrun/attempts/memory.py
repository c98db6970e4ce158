"""The memory of a run: its limit, its peak, and the advice when it was too little."""

import os
import re
import resource
from collections.abc import Iterator
from pathlib import Path

from labrun.errors import LabError
from labrun.plain import flat
from labrun.runs.run_dir import RunDir

CGROUP = Path("/sys/fs/cgroup")
SIZES = re.compile(r"(batch_size|num_generations|prompts_per_step|num_workers|num_envs|episodes)$")
"""Settings that need more memory the larger they are."""
MOST_NAMED = 3
GPU = re.compile(r"cuda|hip|xpu|OutOfMemoryError", re.IGNORECASE)


def total() -> int:
    """The memory of this machine, in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def limit() -> tuple[int, str]:
    """The least limit on this process's memory in bytes, and what sets it."""
    return min([(total(), "this machine"), *_ulimits(), *_cgroups()])


def oom_kills() -> int:
    """Processes killed for want of memory, in this control group or on this machine."""
    for path in _groups("memory.events", "memory.oom_control"):
        if found := re.search(r"^oom_kill (\d+)$", path.read_text(), re.MULTILINE):
            return int(found[1])
    try:
        found = re.search(r"^oom_kill (\d+)$", Path("/proc/vmstat").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0


def advice(run: RunDir, error: BaseException | None = None, *, peak_bytes: int = 0) -> str:
    """What to say behind `out of memory`: the peak and the limit of this machine's memory, unless
    the error is of a GPU's, and what to lower."""
    lower = f"lower {_sizes(run)} in a new run, or give the job more memory and resume it"
    if error is not None and GPU.search(f"{type(error).__name__} {error}"):
        return lower
    most, whose = limit()
    return f"peak {_gib(peak_bytes or peak())}, limit {_gib(most)} ({whose}); {lower}"


def peak() -> int:
    """The most memory that this process had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _sizes(run: RunDir) -> str:
    """The run's own settings that take memory, by name and value."""
    try:
        sections = run.experiment().settings
    except LabError:
        return "the size of the model or the batch"
    found = [
        f"{section}.{key}={value}"
        for section, values in sections.items()
        for key, value in flat(values)
        if SIZES.search(key)
    ]
    own = [word for word in found if word.startswith("trainer.")] or found
    return ", ".join(own[:MOST_NAMED]) or "the size of the model or the batch"


def _ulimits() -> Iterator[tuple[int, str]]:
    for kind, word in ((resource.RLIMIT_AS, "ulimit -v"), (resource.RLIMIT_DATA, "ulimit -d")):
        most = resource.getrlimit(kind)[0]
        if most != resource.RLIM_INFINITY:
            yield most, word


def _cgroups() -> Iterator[tuple[int, str]]:
    for path in _groups("memory.max", "memory.limit_in_bytes"):
        text = path.read_text().strip()
        if text.isdigit():
            yield int(text), "its control group"


def _groups(unified: str, legacy: str) -> Iterator[Path]:
    """This file of this process's control group and of those above it, in version 2 or 1."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root, name = (CGROUP / "memory", legacy) if controllers else (CGROUP, unified)
        here = root / group.lstrip("/")
        for folder in (here, *here.parents):
            if folder.is_relative_to(root) and (folder / name).is_file():
                yield folder / name


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
