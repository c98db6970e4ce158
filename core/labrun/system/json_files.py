"""Small files of JSON: written whole or not at all, read with a reason where they are damaged."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from labrun.errors import LabError
from labrun.system import regular_files

UNWRITABLE = (IsADirectoryError, NotADirectoryError, PermissionError)
"""Errors that come again at the next attempt."""


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write the file whole or not at all, and on disk before it returns.

    Raises LabError where a directory lies in its place or the folder may not be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(draft, "w") as out:
            out.write(json.dumps(value, indent=1))
            out.flush()
            os.fsync(out.fileno())
        os.replace(draft, path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        if not isinstance(error, UNWRITABLE):
            raise
        raise LabError(f"{path} cannot be written: {error.strerror}; put it right first") from error


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in the file.

    Raises FileNotFoundError, and LabError where it holds no object or cannot be read.
    """
    try:
        value = json.loads(regular_files.content(path))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise LabError(f"{path} cannot be read: {reason(error)}") from error
    if not isinstance(value, dict):
        raise LabError(f"{path} cannot be read: it holds no JSON object")
    return value


def parsed(text: bytes) -> Any:
    """What the JSON says. Raises ValueError and RecursionError.

    Pydantic's parser takes half the time of Python's, which decides where the first one refuses:
    that one takes no half of a pair of surrogates.
    """
    try:
        return from_json(text)
    except ValueError:
        return json.loads(text)


def reason(error: BaseException) -> str:
    """What the system or the parser says, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).strip() or type(error).__name__).splitlines()[0]
