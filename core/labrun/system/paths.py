"""Names that become paths stay where they belong."""

import hashlib
import os
import re
from pathlib import Path

from labrun.errors import LabError

LONGEST_PART = 255
"""Bytes of a file's name that Linux takes."""
LONGEST_PATH = 4000
LONGEST_COMPONENT = 160
"""Characters of a name that is made a folder's; room is left for what stands behind it."""
ALLOWED = "one or more names joined by single '/', each other than '.' and '..'"


def confined(name: str, *, root: Path) -> Path:
    """`root/name`, which lies under `root` whatever stands in the name and on the disk.

    Raises LabError for an absolute name, a part that is empty, `.`, `..` or too long, a NUL, and a
    way that a symbolic link leads out of `root`.
    """
    if fault := _fault(name):
        raise LabError(f"artifact {_shown(name)}: {fault}; allowed: {ALLOWED}; choose another name")
    path = root / name
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise LabError(f"artifact {_shown(name)}: the whole path is longer than {LONGEST_PATH}")
    if not _lies_in(path, root):
        raise LabError(f"artifact {_shown(name)}: a symbolic link leads out of {root}; remove it")
    return path


def _lies_in(path: Path, root: Path) -> bool:
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # links in a ring
        return False


def _fault(name: str) -> str:
    """What is wrong with the name by itself, or nothing."""
    parts = name.split("/")
    if name.startswith("/"):
        return "it is absolute"
    if "\0" in name:
        return "it holds a NUL"
    if "" in parts:
        return "a part of it is empty"
    if "." in parts or ".." in parts:
        return "a part of it is '.' or '..'"
    try:
        lengths = [len(os.fsencode(part)) for part in parts]
    except UnicodeEncodeError:
        return "it is no text that a file system takes"
    too_long = max(lengths) > LONGEST_PART
    return f"a part of it is longer than {LONGEST_PART} bytes" if too_long else ""


def _shown(name: str) -> str:
    return repr(name) if len(name) <= 100 else f"{name[:100]!r}..."


def component(name: str) -> str:
    """The name as one part of a path: itself, or what is left of it with its hash."""
    safe = re.sub(r"[^\w.,=+ -]|\A\.", "_", name)[:LONGEST_COMPONENT]
    while len(os.fsencode(safe)) > LONGEST_COMPONENT:
        safe = safe[:-1]
    return safe if safe == name else f"{safe}@{hashlib.sha256(repr(name).encode()).hexdigest()[:8]}"
