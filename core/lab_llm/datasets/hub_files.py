"""Files of a hub data set that already lies in the Hugging Face cache."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from labrun.errors import LabError, listed

PREFIX = "hub:"
SYNTAX = "hub:org/name, hub:org/name@revision or hub:org/name:glob, say hub:org/name@main:data/*"
_NAME = re.compile(
    r"hub:(?P<repo>[\w-][\w.-]*/[\w-][\w.-]*)(?:@(?P<revision>[^:]+))?(?::(?P<files>.+))?"
)
_GLOBS = (["**/*.parquet"], ["**/*.jsonl", "**/*.jsonl.gz"], ["**/*.csv", "**/*.csv.gz"])
_SPLITS = ("train", "test", "validation", "dev")


class DataNotHereError(LabError):
    """The data set is a right one, as far as can be seen, and not on this machine."""


class NotCachedError(DataNotHereError):
    """A hub's data set is not in the cache."""


def find_hub_files(name: str) -> list[Path]:
    """The files that `hub:org/name[@revision][:glob]` names, sorted; nothing is downloaded.

    Without a glob: all Parquet files, or where there is none all JSONL files, else all CSV files.
    Raises NotCachedError, with the command that fetches it, where the cache does not hold it, and
    LabError where no file matches, or where the files are of several splits.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise LabError(f"dataset path {name!r}: a hub data set is written {SYNTAX}")
    folder = _snapshot(match["repo"], match["revision"])
    if match["files"]:
        found = _matching(folder, [match["files"]])
    else:
        kinds = (_matching(folder, globs) for globs in _GLOBS)
        found = next((files for files in kinds if files), [])
        _refuse_splits(name, [file.relative_to(folder) for file in found])
    if not found:
        held = sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())
        raise LabError(f"{name}: no matching file in {folder}; it holds {listed(held)}")
    return found


def _matching(folder: Path, globs: Sequence[str]) -> list[Path]:
    try:
        return sorted(file for pattern in globs for file in folder.glob(pattern) if file.is_file())
    except NotImplementedError as error:  # of an absolute path
        raise LabError(f"dataset path: {globs[0]!r} must be a glob inside the data set") from error


def _snapshot(repo: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(repo, repo_type="dataset", revision=revision, local_files_only=True)
        )
    except LocalEntryNotFoundError as error:
        at = f" --revision {revision}" if revision else ""
        raise NotCachedError(
            f"data set {repo!r} is not in the Hugging Face cache; fetch it where there is a "
            f"network: hf download --repo-type dataset {repo}{at}"
        ) from error


def _refuse_splits(name: str, files: Sequence[Path]) -> None:
    """Training and test rows together would be a mistake; the name must choose."""
    splits = {split for file in files for split in _SPLITS if _is_of(file, split)}
    if len(splits) > 1:
        some = ", ".join(map(str, files[:6]))
        raise LabError(f"{name} has several splits ({some}); name the files: {name}:GLOB")


def _is_of(file: Path, split: str) -> bool:
    return any(part.startswith(split) for part in PurePosixPath(file).parts)
