"""What a run has to show, as files for MLflow: figures, pages, tables of completions."""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlparse

from labrun.results.store.tables import Table
from labrun.runs.run_dir import RunDir

SHOWN = (".png", ".gif", ".html")
"""Files that a browser shows."""


def shown_files(run: RunDir) -> Iterator[tuple[Path, str]]:
    """The run's figures and pages, each with its folder below the artifacts."""
    for file in sorted(run.artifacts.rglob("*")):
        if file.suffix in SHOWN and file.is_file():
            folder = file.parent.relative_to(run.artifacts).as_posix()
            yield file, "" if folder == "." else folder


def copy_to(uri: str, run: RunDir, tables: Iterable[Table]) -> None:
    """Copy all that is shown to the run's artifacts in MLflow, if that is a folder here."""
    place = urlparse(uri)
    if place.scheme not in ("", "file"):
        return
    root = Path(unquote(place.path))
    for file, folder in shown_files(run):
        shutil.copyfile(file, _ready(root / folder / file.name))
    for table in tables:
        _ready(root / table.path).write_text(table.text, encoding="utf-8")


def _ready(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
