"""Tags of a run that are known only after it has begun: commit, tasks, description, tables."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from labrun.config.credentials import masked
from labrun.config.words import command_line
from labrun.errors import LabError
from labrun.results.store.names import EVAL, LONGEST_TAG, name_of, stored_value
from labrun.results.store.tables import Table
from labrun.runs.run_dir import RunDir
from labrun.system.json_files import read_object

NOTE_TAG = "mlflow.note.content"
OWN_NOTE_TAG = "labrun.note"
"""Digest of the description that labrun wrote: one that a user has edited stays."""
TABLES_TAG = "mlflow.loggedArtifacts"


class Latest(NamedTuple):
    """A metric's value at its greatest step."""

    value: float
    step: int


def late_tags(
    run: RunDir,
    *,
    latest: Mapping[str, Latest],
    present: Mapping[str, str],
    tables: Iterable[Table],
) -> dict[str, str]:
    """The tags to write now, given the metrics and tags that the store has of the run."""
    scores = _scores(latest, present)
    found = {"task": ", ".join(dict.fromkeys(task for task, _ in scores)), TABLES_TAG: ""}
    if listed := [{"path": table.path, "type": "table"} for table in tables]:
        found[TABLES_TAG] = json.dumps(listed)
    found["mlflow.source.git.commit"] = _commit(run)
    tags = {key: stored_value(value, longest=LONGEST_TAG) for key, value in found.items() if value}
    return tags | _note(description(run, scores), present)


def description(run: RunDir, scores: Mapping[tuple[str, str], Latest]) -> str:
    """Markdown: the run's command, its scores, and where there is more."""
    experiment = run.experiment()
    lines = [f"`lab run {masked(command_line(experiment.overrides))}`", ""]
    if scores:
        lines += ["| task | metric | value | step |", "|---|---|---:|---:|"]
        lines += [
            f"| {_cell(task)} | {_cell(metric)} | {last.value:.4g} | {last.step} |"
            for (task, metric), last in scores.items()
        ]
        lines += [""]
    lines += [
        f"All settings: `lab runs show {run.id}`. "
        f"Intervals over seeds: `lab compare --group {experiment.run.group}`."
    ]
    return "\n".join(lines)


def _scores(latest: Mapping[str, Latest], tags: Mapping[str, str]) -> dict[tuple[str, str], Latest]:
    """(task, metric) -> the last score, in the names' order."""
    found = {}
    for stored, last in sorted(latest.items()):
        name = name_of(stored, tags)
        if name.startswith(EVAL):
            task, _, metric = name.removeprefix(EVAL).rpartition("/")
            found[task, metric] = last
    return found


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _note(text: str, present: Mapping[str, str]) -> dict[str, str]:
    """The description with its digest; nothing where a user wrote another one."""
    there = present.get(NOTE_TAG)
    if there and _digest(there) != present.get(OWN_NOTE_TAG):
        return {}
    kept = stored_value(text, longest=LONGEST_TAG)
    return {NOTE_TAG: kept, OWN_NOTE_TAG: _digest(kept)}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _commit(run: RunDir) -> str:
    try:
        return str(read_object(run.path / "provenance.json").get("git_commit") or "")
    except (OSError, LabError):
        return ""
