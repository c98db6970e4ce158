"""Rows of JSONL and Parquet files, and the values of dotted columns in them."""

import difflib
import glob
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labrun.errors import LabError

from lab_llm.hub_files import PREFIX, find_hub_files

if TYPE_CHECKING:
    from pyarrow import RecordBatch

JSON_SUFFIXES = (".jsonl", ".json")
SUFFIXES = (*JSON_SUFFIXES, ".parquet")

Row = Mapping[str, Any]


def find_files(patterns: str | Sequence[str]) -> list[Path]:
    """The files that paths, globs and names of cached hub data sets stand for, globs sorted.

    Raises LabError where there is none, or where a file is of another kind.
    """
    listed = [patterns] if isinstance(patterns, str) else patterns
    if not listed or not all(listed):
        raise LabError("dataset.path is not set; give a file, a glob or a list of these")
    found = [file for pattern in listed for file in _matches(pattern)]
    for file in found:
        if file.suffix not in SUFFIXES:
            raise LabError(f"{file}: rows are read from {', '.join(SUFFIXES)} files")
    return found


def _matches(pattern: str) -> list[Path]:
    if pattern.startswith(PREFIX):
        return find_hub_files(pattern)
    path = Path(pattern).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        raise LabError(f"{path} is a directory; name its files, say {path}/*.parquet")
    files = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]
    files = [file for file in files if file.is_file()]
    if not files:
        raise LabError(f"no file {pattern!r}{_nearest_path(path)}")
    return files


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
    return f"; {folder} holds {', '.join(names[:10]) or 'nothing'}"


def read_rows(file: Path, columns: Sequence[str], *, limit: int | None = None) -> Iterator[Row]:
    """The rows of a file in order, at most `limit` of them.

    Only the top-level columns that the dotted `columns` begin with are sure to be there.
    Raises LabError for a damaged or an empty file.
    """
    rows = _json_rows(file) if file.suffix in JSON_SUFFIXES else _parquet_rows(file, columns)
    count = 0
    for count, row in enumerate(rows, start=1):
        yield row
        if count == limit:
            return
    if count == 0:
        raise LabError(f"{file} is empty: it has no rows")


def _json_rows(file: Path) -> Iterator[Row]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _json_object(line, f"{file} line {number}")


def _json_object(line: bytes, where: str) -> Row:
    try:
        row = json.loads(line.decode("utf-8-sig"))  # bytes would pass half a surrogate pair
    except ValueError as error:
        raise LabError(f"{where} is damaged: {error}; one JSON object a line is read") from error
    if not isinstance(row, dict):
        raise LabError(f"{where} holds a {type(row).__name__}; one JSON object a line is read")
    if b"\\u" in line:
        _check_characters(row, where)
    return row


def _check_characters(value: object, where: str) -> None:
    """LabError for half of a surrogate pair: JSON can write it, no file or tokenizer takes it."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise LabError(
            f"{where} holds {half}, half of a character; mend or drop the row"
        ) from error


def _parquet_rows(file: Path, columns: Sequence[str]) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            names = table.schema_arrow.names
            top = sorted({top_level(column, names, file) for column in columns})
            start = 0
            for batch in table.iter_batches(batch_size=256, columns=top):
                yield from _plain(batch, file, start)
                start += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise LabError(f"{file} is damaged: {reason}; copy or download it again") from error


def _plain(batch: "RecordBatch", file: Path, start: int) -> list[Row]:
    """The batch's rows, the first of which is row `start`. LabError for text that is no UTF-8."""
    try:
        return batch.to_pylist()
    except UnicodeDecodeError as error:
        half = batch.num_rows // 2
        if half == 0:
            raise LabError(f"{file} row {start} is damaged: {error}; mend or drop it") from error
        return _plain(batch[:half], file, start) + _plain(batch[half:], file, start + half)


def top_level(column: str, names: Sequence[str], file: Path) -> str:
    """The column of the file that a dotted path begins in. Raises LabError where there is none."""
    for name in (column, column.split(".", 1)[0]):
        if name in names:
            return name
    raise no_column(column, names, file)


def value_at(row: Row, column: str, *, file: Path) -> Any:
    """The value at a dotted path, through structs and strings that hold JSON.

    Raises LabError where the path leaves the row, with the names that are there.
    """
    head = top_level(column, list(row), file)
    value = row[head]
    rest = column[len(head) + 1 :]
    for key in rest.split(".") if rest else []:
        value = _struct(value, column, file)
        if key not in value:
            inside = [f"{column[: -len(rest)]}{name}" for name in value]
            raise no_column(column, inside, file)
        value, rest = value[key], rest[len(key) + 1 :]
    return value


def _struct(value: Any, column: str, file: Path) -> Mapping[str, Any]:
    if isinstance(value, str):
        value = _parsed(value, column, file)
    if not isinstance(value, Mapping):
        raise LabError(f"{file}: column {column!r} leads through a {type(value).__name__}")
    return value


def _parsed(text: str, column: str, file: Path) -> object:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise LabError(f"{file}: column {column!r} leads through text, no JSON") from error
    if "\\u" in text:
        _check_characters(value, f"{file}: column {column!r}")
    return value


def no_column(column: str, names: Sequence[str], file: Path) -> LabError:
    """The error for a missing column, with the columns that exist and the nearest of them."""
    near = difflib.get_close_matches(column, list(names), n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return LabError(f"{file} has no column {column!r}; {hint}it has: {', '.join(names)}")
