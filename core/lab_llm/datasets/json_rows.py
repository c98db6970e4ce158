"""Rows of JSON files: one object a line, or one array of objects."""

import codecs
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from labrun.errors import LabError

from lab_llm.datasets.json_text import KINDS, UnfitJSONError, parse_items, parse_json
from lab_llm.datasets.text_lines import read_lines, refuse_foreign

Numbered = Iterator[tuple[int, Mapping[str, Any]]]
"""The number of a row in its file, from 1, and its values."""
A_LINE = "one JSON object a line is read"
AN_ARRAY = "an array of JSON objects is read"


def read_json_lines(file: Path) -> Numbered:
    """Every row with its line. Raises LabError, with the line, for what is no object."""
    for number, line in enumerate(read_lines(file), start=1):
        if line.strip():
            where = f"{file} line {number}"
            refuse_foreign(line, where, read="lines of JSON")
            yield number, _object(_parsed(line, where), where, A_LINE)


def read_json(file: Path) -> tuple[str, Numbered]:
    """What numbers the rows, and the rows: an array's where the file begins with a bracket, else
    those of its lines."""
    begun = (line.removeprefix(codecs.BOM_UTF8).lstrip() for line in read_lines(file))
    if next((line for line in begun if line), b"").startswith(b"["):
        return "row", _of_array(file)
    return "line", read_json_lines(file)


def _parsed(line: bytes, where: str) -> object:
    try:
        return parse_json(line.decode("utf-8-sig").rstrip())
    except UnfitJSONError as error:
        raise LabError(f"{where} {error}") from error
    except json.JSONDecodeError as error:  # it counts lines of its own, and there is one
        fault = f"{error.msg} at character {error.pos + 1}"
        raise LabError(f"{where} is damaged: {fault}; {A_LINE}") from error
    except ValueError as error:
        raise LabError(f"{where} is damaged: {error}; {A_LINE}") from error


def _of_array(file: Path) -> Numbered:
    number = 0
    try:
        text = b"".join(read_lines(file)).decode("utf-8-sig")
        for number, value in enumerate(parse_items(text), start=1):
            yield number, _object(value, f"{file} row {number}", AN_ARRAY)
    except UnfitJSONError as error:
        raise LabError(f"{file} row {number + 1} {error}") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} character {error.colno}"
        fault = f"row {number + 1} is damaged: {error.msg} at {place}"
        raise LabError(f"{file} {fault}; {AN_ARRAY}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise LabError(f"{file} line {line} is damaged: {error}; {AN_ARRAY}") from error


def _object(value: object, where: str, read: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise LabError(f"{where} holds {KINDS[type(value)]}; {read}")
    return value
