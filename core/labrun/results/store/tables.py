"""A run's completions as tables that MLflow shows beside those of other runs."""

import itertools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from labrun.runs.run_dir import RunDir

MOST_ROWS = 50
"""Lines of a file that become rows; the run directory has all."""
MOST_TABLES = 20
LONGEST_CELL = 4000
"""Characters of a text that are kept."""
COLUMNS = ("id", "completion", "reward", "gold", "prompt", "sample", "tokens")
"""In this order: MLflow lays runs side by side by the first one and shows the second. Further keys
of the lines are left out."""


class Table(NamedTuple):
    """Where the table lies among the run's artifacts, and its JSON as `mlflow.log_table` has it."""

    path: str
    text: str


def tables_of(run: RunDir) -> list[Table]:
    """The first rows of each file of completions, `artifacts/**/completions/SET.jsonl`."""
    files = sorted(run.artifacts.rglob("completions/*.jsonl"))
    found = []
    for file in files[:MOST_TABLES]:
        if rows := list(itertools.islice(_rows(file), MOST_ROWS)):
            path = file.relative_to(run.artifacts).with_suffix(".json").as_posix()
            found.append(Table(path, _table(rows)))
    return found


def _rows(file: Any) -> Iterator[dict[str, Any]]:
    """The lines that are objects; others are passed over."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict):
                yield row


def _table(rows: list[dict[str, Any]]) -> str:
    columns = [name for name in COLUMNS if any(name in row for row in rows)]
    data = [[_cell(row.get(name)) for name in columns] for row in rows]
    return json.dumps({"columns": columns, "data": data}, ensure_ascii=False)


def _cell(value: Any) -> Any:
    """A number as it is; messages as their texts; a long text cut off."""
    if isinstance(value, list) and all(isinstance(one, dict) for one in value):
        value = "\n\n".join(str(message.get("content", "")) for message in value)
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_CELL else text[:LONGEST_CELL] + "..."
