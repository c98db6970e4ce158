"""What a user says of a run, in `notes.json`: a display name, tags, a note, whether it is archived.

The run itself never reads the file. It may be removed at any time.
"""

import dataclasses
import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from labrun.errors import LabError, shown
from labrun.runs.seals import DamagedError
from labrun.system.json_files import read_object, reason, write_json

FILE = "notes.json"
LOCK = ".notes.lock"
MAX_BYTES = 200
"""Of a tag and of a name."""
MAX_NOTE_BYTES = 10_000
_NO_TAG = re.compile(r"^[+-]|[\s,'\"\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NO_NAME = re.compile(r"^[.\s-]|\s$|[/\\:*?|$%@\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclasses.dataclass(frozen=True)
class Notes:
    """What the user said; `archived` runs are hidden from lists and comparisons."""

    name: str = ""
    tags: tuple[str, ...] = ()
    note: str = ""
    archived: bool = False


NOTHING = Notes()


def read(run: Path) -> Notes:
    """What the user said of the run in this directory. Raises DamagedError."""
    path = run / FILE
    try:
        said = read_object(path)
    except FileNotFoundError:
        return NOTHING
    except LabError as error:
        raise DamagedError(f"{error}; remove it") from error
    if fault := _fault(said):
        raise DamagedError(f"{path} is damaged: {fault}; remove it")
    texts = {key: said.get(key, "") for key in ("name", "note")}
    return Notes(**texts, tags=tuple(said.get("tags", ())), archived=said.get("archived", False))


def fault_of(run: Path) -> str | None:
    """What is wrong with the file, or None."""
    try:
        read(run)
    except DamagedError as error:
        return str(error)
    return None


def known(run: Path) -> Notes:
    """What the user said; nothing where the file is damaged: one bad file hides no run."""
    try:
        return read(run)
    except DamagedError:
        return NOTHING


def change(run: Path, **changes: Any) -> Notes:
    """The notes with these fields changed, which are on disk when it returns.

    Raises LabError for a name or text that is none, DamagedError where the file is damaged.
    """
    with _alone(run):
        return _written(run, dataclasses.replace(read(run), **changes))


def tag(run: Path, *, add: Iterable[str] = (), drop: Iterable[str] = ()) -> Notes:
    """The notes with these tags added and those taken away, in the order in which they came."""
    with _alone(run):
        notes = read(run)
        gone = set(drop)
        kept = [one for one in notes.tags if one not in gone]
        return _written(run, dataclasses.replace(notes, tags=tuple(dict.fromkeys([*kept, *add]))))


def check_tag(text: str) -> str:
    """The tag. Raises LabError for one that a filter could not name."""
    if not text or _NO_TAG.search(text) or not _fits(text, MAX_BYTES):
        raise LabError(
            f"no tag '{shown(text)}'; a tag has 1 to {MAX_BYTES} bytes, no space, comma or quote, "
            "and does not begin with + or -"
        )
    return text


def check_name(text: str) -> str:
    """The display name; empty takes it away. Raises LabError."""
    if _NO_NAME.search(text) or not _fits(text, MAX_BYTES) or text == "last":
        raise LabError(
            f"no name '{shown(text)}'; a name has at most {MAX_BYTES} bytes, none of "
            "/ \\ : * ? | $ % @, begins with no dot, dash or space, and is not `last`"
        )
    return text


def check_note(text: str) -> str:
    """The note. Raises LabError."""
    if not _fits(text, MAX_NOTE_BYTES):
        raise LabError(
            f"this note of {len(text)} characters does not fit; a note is UTF-8 text of at most "
            f"{MAX_NOTE_BYTES} bytes; keep a longer one in a file of its own"
        )
    return text


def _fits(text: str, most: int) -> bool:
    try:
        return len(text.encode()) <= most
    except UnicodeEncodeError:
        return False


def _fault(said: dict[str, Any]) -> str:
    kinds = {"name": str, "note": str, "archived": bool, "tags": list}
    for key, kind in kinds.items():
        if not isinstance(said.get(key, kind()), kind):
            return f"{key} is {shown(repr(said[key]), limit=60)}"
    odd = [one for one in said.get("tags", ()) if not isinstance(one, str)]
    return f"a tag is {shown(repr(odd[0]), limit=60)}" if odd else ""


def _written(run: Path, notes: Notes) -> Notes:
    write_json(run / FILE, dataclasses.asdict(notes))
    return notes


@contextmanager
def _alone(run: Path) -> Iterator[None]:
    """No other command changes the run's notes meanwhile."""
    path = run / LOCK
    try:
        handle = os.open(path, os.O_CREAT | os.O_RDWR)
    except OSError as error:
        text = f"{path} cannot be opened: {reason(error)}; the notes stay as they are"
        raise LabError(text) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
