"""Checkpoints that are whole or absent: the manifest with its sums is written last."""

import dataclasses
import hashlib
import hmac
import json
import os
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from labrun.errors import LabError
from labrun.runs import checkpoint_keys
from labrun.runs.seals import DamagedError, Seal, read_seal
from labrun.system import disk, regular_files
from labrun.system.json_files import reason, write_json

MANIFEST = "manifest.json"
NAME = re.compile("[0-9]{8,}")


def save(
    root: Path, step: int, writer: Callable[[Path], None], *, keep: int, events: Seal | None = None
) -> Path:
    """Let `writer` fill a directory, seal it as `<root>/<step>/`, and drop all but `keep`.

    A crash at any moment leaves the earlier checkpoints as they were. `events` is the seal of
    events.jsonl at this moment.
    """
    begin(root, step)
    try:
        writer(draft_of(root, step))
        seal(root, step, keep=keep, events=events)
    except Exception as error:
        is_full = disk.is_full(root, error)
        shutil.rmtree(draft_of(root, step), ignore_errors=True)  # what does not fit makes room
        if is_full and not isinstance(error, OSError):
            raise disk.full(root) from error
        raise
    return sealed_of(root, step)


def draft_of(root: Path, step: int) -> Path:
    return root / f".draft-{step:08d}"


def sealed_of(root: Path, step: int) -> Path:
    return root / f"{step:08d}"


def begin(root: Path, step: int) -> None:
    """Make the draft of `step` to write into; what an earlier attempt left of drafts goes."""
    root.mkdir(parents=True, exist_ok=True)
    for stale in root.glob(".draft-*"):
        _remove(stale)
    draft_of(root, step).mkdir()


def seal(root: Path, step: int, *, keep: int, events: Seal | None = None) -> None:
    """Make the written draft the checkpoint of `step`, and drop all but the newest `keep`."""
    draft = draft_of(root, step)
    names = sorted(p.relative_to(draft) for p in draft.rglob("*") if p.is_file())
    for name in names:
        _sync(draft / name)
    sums = {str(name): _sha256(draft / name) for name in names}
    sealed = dataclasses.asdict(events) if events else None
    write_json(draft / MANIFEST, _signed({"step": step, "sha256": sums, "events": sealed}))
    superseded = [path for path in folders(root) if step_of(path) >= step]
    for path in superseded:  # of an earlier attempt, which went further: damaged, or replayed now
        os.rename(path, root / f".draft-{path.name}-superseded")
    os.rename(draft, sealed_of(root, step))
    _sync(root)
    for stale in [*root.glob(".draft-*"), *folders(root)[:-keep]]:
        _remove(stale)


def _signed(manifest: dict[str, Any]) -> dict[str, Any]:
    key = checkpoint_keys.own_key()
    if key is None:
        return manifest
    signature = checkpoint_keys.signature(manifest, key)
    return manifest | {"key": checkpoint_keys.name_of(key), "hmac": signature}


def folders(root: Path) -> list[Path]:
    """The checkpoints' folders, oldest first; names other than a step's are passed over."""
    try:
        names = [name for name in os.listdir(root) if NAME.fullmatch(name)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise LabError(f"{root} cannot be read: {reason(error)}") from error
    return [root / name for name in sorted(names, key=int) if f"{int(name):08d}" == name]


def latest(root: Path) -> Path | None:
    """The newest checkpoint whose manifest holds; None where none was ever sealed.

    Warns of every damaged one it passes over. Raises LabError where all are damaged.
    """
    path, damage = newest(root, fault_of)
    for fault in damage:
        warnings.warn(f"checkpoint passed over: {fault}", stacklevel=2)
    if path is None and damage:
        raise none_left(root, damage)
    return path


def newest(root: Path, fault: Callable[[Path], str | None]) -> tuple[Path | None, list[str]]:
    """The newest checkpoint without a fault, and what is wrong with each that is newer."""
    damage = []
    for path in reversed(folders(root)):
        if (found := fault(path)) is None:
            return path, damage
        damage.append(found)
    return None, damage


def none_left(root: Path, damage: list[str]) -> LabError:
    return DamagedError(
        f"no readable checkpoint in {root}: {damage[0]}; "
        "`lab resume --restart` begins again at step 0"
    )


def step_of(path: Path) -> int:
    return int(path.name)


def fault_of(path: Path) -> str | None:
    """What is wrong with the checkpoint, or None."""
    try:
        manifest = _manifest(path)
    except LabError as error:
        return str(error)
    for name, expected in manifest["sha256"].items():
        file = path / name
        try:
            if not file.is_file():
                return f"{file} is missing"
            if _sha256(file) != expected:
                return f"{file} is damaged (its sha256 differs from the manifest's)"
        except (OSError, ValueError) as error:
            return f"{file} cannot be read: {reason(error)}"
    return None


def events_of(path: Path) -> Seal | None:
    """The seal of events.jsonl in a checkpoint without fault; None of one of an earlier version."""
    return read_seal(_manifest(path).get("events"))


def refuse_foreign(path: Path) -> None:
    """Raise LabError unless this user's own key signed the checkpoint, as it now lies there.

    For checkpoints whose loading can run code.
    """
    key = checkpoint_keys.own_key()
    if key is None:
        raise LabError(
            f"{checkpoint_keys.key_path()} is no key of 32 bytes that only you can read, so that "
            f"{path} cannot be told from a foreign checkpoint, whose loading may run code; "
            f"set {checkpoint_keys.VARIABLE} to the key's file"
        )
    manifest = _manifest(path)
    files = {str(p.relative_to(path)) for p in path.rglob("*") if not p.is_dir()}
    extra = sorted(files - {MANIFEST, *manifest["sha256"]})
    if manifest.get("key") != checkpoint_keys.name_of(key) or extra:
        why = f"{extra[0]} is not in its manifest" if extra else "your key did not sign it"
        raise LabError(
            f"{path} may be foreign: {why}; loading it may run code. If you trust the user who "
            f"wrote it, set {checkpoint_keys.VARIABLE} to a copy of that user's key; "
            "`lab resume --restart` begins again at step 0"
        )


def _manifest(path: Path) -> dict[str, Any]:
    """The manifest, as it was written. Raises LabError."""
    file = path / MANIFEST
    try:
        manifest = json.loads(regular_files.content(file))
        if not isinstance(manifest, dict) or not isinstance(manifest.get("sha256"), dict):
            raise ValueError("it has no sums")
        if not manifest["sha256"]:
            raise ValueError("it sums no file")
        if NAME.fullmatch(path.name) and manifest.get("step", step_of(path)) != step_of(path):
            raise ValueError(f"it is of step {manifest['step']}")
        read_seal(manifest.get("events"))
    except (OSError, RecursionError, ValueError) as error:
        detail = reason(error) if type(error) is ValueError else type(error).__name__
        raise LabError(f"{file} cannot be read ({detail})") from error
    key = checkpoint_keys.own_key() if "hmac" in manifest else None
    if key is not None and manifest.get("key") == checkpoint_keys.name_of(key):
        expected = checkpoint_keys.signature(manifest, key)
        if not hmac.compare_digest(expected.encode(), str(manifest["hmac"]).encode()):
            raise LabError(f"{file} is damaged: it was altered after the run wrote it")
    return manifest


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _sha256(path: Path) -> str:
    with regular_files.opened(path) as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
