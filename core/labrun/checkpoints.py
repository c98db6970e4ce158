"""Checkpoints that are whole or absent: the manifest with its sums is written last."""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

from labrun.errors import LabError
from labrun.run_dir import write_json

MANIFEST = "manifest.json"


def save(root: Path, step: int, writer: Callable[[Path], None], *, keep: int) -> Path:
    """Let `writer` fill a directory, seal it as `<root>/<step>/`, and drop all but `keep`.

    A crash at any moment leaves the earlier checkpoints as they were.
    """
    begin(root, step)
    writer(draft_of(root, step))
    seal(root, step, keep=keep)
    return sealed_of(root, step)


def draft_of(root: Path, step: int) -> Path:
    return root / f".draft-{step:08d}"


def sealed_of(root: Path, step: int) -> Path:
    return root / f"{step:08d}"


def begin(root: Path, step: int) -> None:
    """Make the draft of `step` to write into; what an earlier attempt left of drafts goes."""
    root.mkdir(parents=True, exist_ok=True)
    for stale in root.glob(".draft-*"):
        shutil.rmtree(stale)
    draft_of(root, step).mkdir()


def seal(root: Path, step: int, *, keep: int) -> None:
    """Make the written draft the checkpoint of `step`, and drop all but the newest `keep`."""
    draft = draft_of(root, step)
    names = sorted(p.relative_to(draft) for p in draft.rglob("*") if p.is_file())
    for name in names:
        _sync(draft / name)
    sums = {str(name): _sha256(draft / name) for name in names}
    write_json(draft / MANIFEST, {"step": step, "sha256": sums})
    superseded = [path for path in _steps(root) if step_of(path) >= step]
    for path in superseded:  # of an earlier attempt, which went further: damaged, or replayed now
        os.rename(path, root / f".draft-{path.name}-superseded")
    os.rename(draft, sealed_of(root, step))
    _sync(root)
    for stale in [*root.glob(".draft-*"), *_steps(root)[:-keep]]:
        shutil.rmtree(stale)


def latest(root: Path) -> Path | None:
    """The newest checkpoint whose manifest holds; None where none was ever sealed.

    Warns of every damaged one it passes over. Raises LabError where all are damaged.
    """
    damage = []
    for path in reversed(_steps(root)):
        fault = fault_of(path)
        if fault is None:
            return path
        damage.append(fault)
        warnings.warn(f"checkpoint passed over: {fault}", stacklevel=2)
    if damage:
        raise LabError(
            f"no readable checkpoint in {root}: {damage[0]}; "
            "`lab resume --restart` begins again at step 0"
        )
    return None


def step_of(path: Path) -> int:
    return int(path.name)


def fault_of(path: Path) -> str | None:
    """What is wrong with the checkpoint, or None."""
    try:
        sums = json.loads((path / MANIFEST).read_text())["sha256"]
        pairs = sums.items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{path / MANIFEST} cannot be read ({type(error).__name__})"
    for name, expected in pairs:
        if not (path / name).is_file():
            return f"{path / name} is missing"
        if _sha256(path / name) != expected:
            return f"{path / name} is damaged (its sha256 differs from the manifest's)"
    return None


def _steps(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("[0-9]*") if path.is_dir())


def _sha256(path: Path) -> str:
    with open(path, "rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
