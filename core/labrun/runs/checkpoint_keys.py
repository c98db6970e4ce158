"""The key with which this user's checkpoints are signed.

It lies outside the runs, so that a run directory that came from elsewhere does not bring it.
"""

import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VARIABLE = "LABRUN_KEY"
LENGTH = 32
SIGNED = ("step", "sha256", "events")
"""Entries of a manifest that its signature covers."""


def key_path() -> Path:
    """LABRUN_KEY, or labrun/checkpoint.key among the user's state files."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(state) / "labrun" / "checkpoint.key"


def own_key() -> bytes | None:
    """The user's key, made at first use; None where it can be neither read nor made, or where it
    is open to others."""
    path = key_path()
    try:
        if not path.exists():
            _make(path)
        return _read(path)
    except OSError:
        return None


def signature(manifest: Mapping[str, Any], key: bytes) -> str:
    """The HMAC-SHA256 of what the manifest says."""
    said = json.dumps({name: manifest.get(name) for name in SIGNED}, sort_keys=True)
    return hmac.new(key, said.encode(), "sha256").hexdigest()


def name_of(key: bytes) -> str:
    """What tells keys apart and does not give them away."""
    return hashlib.sha256(b"labrun checkpoint key" + key).hexdigest()[:16]


def _make(path: Path) -> None:
    """Write a fresh key under its name at once, or leave the one that another process made."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, secrets.token_bytes(LENGTH))
        os.fsync(handle)
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        os.close(handle)
        os.unlink(draft)


def _read(path: Path) -> bytes | None:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        facts = os.fstat(handle)
        own = stat.S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid()
        if not own or facts.st_mode & 0o077:
            return None
        key = os.read(handle, LENGTH + 1)
    finally:
        os.close(handle)
    return key if len(key) == LENGTH else None
