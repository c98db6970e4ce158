"""What a user says of a run, as a store shows it: the display name and the tags."""

import hashlib
import json

from labrun.results.store.names import LONGEST, LONGEST_TAG, stored_value
from labrun.results.store.run_names import RunNames
from labrun.runs import notes
from labrun.runs.notes import Notes
from labrun.runs.run_dir import RunDir

TAGS_TAG = "tags"
NAME_TAG = "mlflow.runName"


def said_of(found: Notes) -> str:
    """What changes with the name and the tags; empty where there are none."""
    if not (found.name or found.tags):
        return ""
    return f"{_digest(found.name)}/{_digest(json.dumps(found.tags))}"


def is_renamed(before: str, now: str) -> bool:
    """Whether the display name has changed between two answers of `said_of`."""
    nothing = _digest("")
    return (before.partition("/")[0] or nothing) != (now.partition("/")[0] or nothing)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def shown_name(run: RunDir, names: RunNames) -> str:
    """The run's display name, or the short name that its settings give it."""
    return stored_value(notes.known(run.path).name or names.of(run), longest=LONGEST)


def shown_tags(run: RunDir) -> str:
    """The tags in one text, `good, table`; empty where there are none."""
    return stored_value(", ".join(notes.known(run.path).tags), longest=LONGEST_TAG)
