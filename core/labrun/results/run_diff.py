"""What sets two runs apart: settings, provenance, scores."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labrun.config.credentials import masked
from labrun.errors import LabError
from labrun.plain import flat
from labrun.runs.facts import last_scores, settings_of
from labrun.runs.run_dir import RunDir
from labrun.system import regular_files
from labrun.system.json_files import read_object, reason

PASSED_OVER = ("time", "command", "seed")
"""Of provenance.json: what differs between any two runs, or stands among the settings."""
MISSING = "-"
"""What stands for a key that a run lacks."""

Pair = tuple[Any, Any]


@dataclass(frozen=True)
class RunDiff:
    """Key -> the two runs' values, of each key whose values differ; of scores, of every key."""

    settings: Mapping[str, Pair]
    provenance: Mapping[str, Pair]
    scores: Mapping[str, Pair]


def diff(one: RunDir, other: RunDir) -> RunDiff:
    """The differences of two runs. Raises DamagedError where a file of theirs is damaged."""
    settings = _differing(_settings(one), _settings(other))
    provenance = _differing(_provenance(one.path), _provenance(other.path))
    return RunDiff(settings, provenance, _pairs(last_scores(one), last_scores(other)))


def _pairs(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Pair]:
    keys = {**one, **other}
    return {key: (one.get(key, MISSING), other.get(key, MISSING)) for key in keys}


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Pair]:
    return {key: pair for key, pair in _pairs(one, other).items() if pair[0] != pair[1]}


def _settings(run: RunDir) -> dict[str, Any]:
    values = settings_of(run)
    return {key: masked(v) if isinstance(v, str) else v for key, v in values.items()}


def _provenance(run: Path) -> dict[str, Any]:
    """Flat facts of provenance.json and data.json, and the hashes of the diffs of code."""
    facts: dict[str, Any] = {}
    for repository in (said := _object(run / "provenance.json")).get("repositories") or ():
        name = ",".join(repository.get("distributions", ()))
        kept = ("commit", "changed", "untracked")
        facts |= {f"code.{name}.{key}": repository.get(key) for key in kept}
    facts |= {f"data.{key}": value for key, value in _object(run / "data.json").items()}
    for path in sorted(run.glob("code*.diff")):
        facts[path.name] = _hash_of(path)
    rest = {key: value for key, value in said.items() if key not in (*PASSED_OVER, "repositories")}
    return facts | dict(flat(rest))


def _hash_of(path: Path) -> str:
    try:
        return hashlib.sha256(regular_files.content(path)).hexdigest()[:12]
    except OSError as error:
        return f"cannot be read: {reason(error)}"


def _object(path: Path) -> dict[str, Any]:
    """What the file says; nothing of a run that has not written it or whose file is damaged."""
    try:
        return read_object(path)
    except (FileNotFoundError, LabError):
        return {}
