"""Rows of JSON, CSV and Parquet files, and the values of dotted columns in them."""

import difflib
import glob
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labrun.errors import LabError, listed

from lab_llm.datasets.csv_rows import DELIMITERS, read_csv
from lab_llm.datasets.hub_files import PREFIX, DataNotHereError, find_hub_files
from lab_llm.datasets.json_rows import Numbered, read_json, read_json_lines
from lab_llm.datasets.json_text import KINDS, UnfitJSONError, parse_json
from lab_llm.datasets.parquet_rows import read_parquet
from lab_llm.datasets.text_lines import GZIP, ending

TEXTS = (".jsonl", ".json", *DELIMITERS)
ALLOWED = f"{', '.join(TEXTS)}, each also with {GZIP} behind it, and .parquet"


@dataclass(frozen=True)
class Row:
    """One row, with its number as an editor or a viewer shows it: lines and rows count from 1."""

    file: Path
    number: int
    """The line of a JSONL or CSV file that it begins in, blank lines and the header counted; the
    row of a Parquet file or a JSON array."""
    values: Mapping[str, Any]
    unit: str
    """What `number` counts: line or row."""

    @property
    def where(self) -> str:
        return f"{self.file} {self.unit} {self.number}"

    def at(self, column: str) -> Any:
        """The value at a dotted path, through structs and strings that hold JSON.

        Raises LabError where the path leaves the row, with the names that are there.
        """
        head = top_level(column, list(self.values), self.where)
        value = self.values[head]
        rest = column[len(head) + 1 :]
        for key in rest.split(".") if rest else []:
            value = self._struct(value, column)
            if key not in value:
                inside = [f"{column[: -len(rest)]}{name}" for name in value]
                raise no_column(column, inside, self.where)
            value, rest = value[key], rest[len(key) + 1 :]
        return value

    def _struct(self, value: Any, column: str) -> Mapping[str, Any]:
        if isinstance(value, str):
            value = self._parsed(value, column)
        if not isinstance(value, Mapping):
            kind = KINDS.get(type(value), f"a {type(value).__name__}")
            raise LabError(f"{self.where}: column {column!r} leads through {kind}")
        return value

    def _parsed(self, text: str, column: str) -> object:
        try:
            return parse_json(text)
        except UnfitJSONError as error:
            raise LabError(f"{self.where}: column {column!r} {error}") from error
        except ValueError as error:
            raise LabError(
                f"{self.where}: column {column!r} leads through text, no JSON"
            ) from error


def find_files(patterns: str | Sequence[str]) -> list[Path]:
    """The files that paths, globs and names of cached hub data sets stand for, globs sorted.

    Raises LabError where there is none, or where a file is of another kind.
    """
    given = [patterns] if isinstance(patterns, str) else patterns
    if not given or not all(given):
        raise LabError("dataset.path is not set; give a file, a glob or a list of these")
    found = [file for pattern in given for file in _matches(pattern)]
    for file in found:
        if ending(file) not in TEXTS and file.suffix != ".parquet":
            raise LabError(f"{file}: no file of rows; allowed: {ALLOWED}")
    return found


def _matches(pattern: str) -> list[Path]:
    try:
        return find_hub_files(pattern) if pattern.startswith(PREFIX) else _local_files(pattern)
    except (OSError, RuntimeError, ValueError) as error:  # of the system, of a home, of a glob
        reason = str(error).splitlines()[0]
        raise LabError(
            f"dataset path {pattern[:80]!r} cannot be searched: {reason[:200]}"
        ) from error


def _local_files(pattern: str) -> list[Path]:
    path = Path(pattern).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        raise LabError(f"{path} is a directory; name its files, say {path}/*.parquet")
    files = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]
    files = [file for file in files if file.is_file()]
    if files:
        return files
    if glob.has_magic(str(path.parent)) or path.parent.is_dir():
        raise LabError(f"no file {pattern!r}{_nearest_path(path)}")
    raise DataNotHereError(
        f"no file {pattern!r}{_nearest_path(path)}; put it there, or set dataset.path, or "
        "dataset.evaluation.NAME, to where it is"
    )


def _nearest_path(path: Path) -> str:
    """What is there instead: the most similar name in the folder, or the folder that is missing."""
    folder = path.parent
    if not folder.is_dir():
        missing = next(p for p in (folder, *folder.parents) if p.parent.is_dir())
        return f"; there is no folder {missing} in {missing.parent.absolute()}"
    names = sorted(entry.name for entry in folder.iterdir())
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {folder / near[0]}?"
    return f"; {folder} holds {listed(names, near=path.name) if names else 'nothing'}"


def read_rows(file: Path, columns: Sequence[str]) -> Iterator[Row]:
    """The rows of a file in order.

    Only the top-level columns that the dotted `columns` begin with are sure to be there.
    Raises LabError for a damaged or an empty file.
    """
    unit, numbered = _numbered(file, columns)
    empty = True
    for number, values in numbered:
        empty = False
        yield Row(file, number, values, unit)
    if empty:
        raise LabError(f"{file} is empty: it has no rows")


def _numbered(file: Path, columns: Sequence[str]) -> tuple[str, Numbered]:
    """What numbers the rows of a file, and its rows."""

    def top(names: Sequence[str]) -> list[str]:
        found = {top_level(column, names, str(file)) for column in columns}
        for name in found:
            if names.count(name) > 1:
                raise LabError(f"{file} has the column {name!r} twice; drop one of them")
        return sorted(found)

    kind = ending(file)
    if kind in DELIMITERS:
        header, numbered = read_csv(file)
        top(header)
        return "line", numbered
    if kind == ".jsonl":
        return "line", read_json_lines(file)
    if kind == ".json":
        return read_json(file)
    return "row", enumerate(read_parquet(file, top), start=1)


def top_level(column: str, names: Sequence[str], where: str) -> str:
    """The column that a dotted path begins in. Raises LabError where there is none."""
    for name in (column, column.split(".", 1)[0]):
        if name in names:
            return name
    raise no_column(column, names, where)


def no_column(column: str, names: Sequence[str], where: str) -> LabError:
    """The error for a missing column, with the columns that exist and the nearest of them."""
    near = difflib.get_close_matches(column, list(names), n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return LabError(f"{where} has no column {column!r}; {hint}it has: {listed(names, near=column)}")
