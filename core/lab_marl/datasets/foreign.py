"""Data in the forms of other projects: which one a path holds, and its files."""

from pathlib import Path

from lab_marl.episodes import array_folders, vaults
from lab_marl.episodes.hdf5_files import number_of


def kind_of(path: Path) -> str | None:
    """vault, arrays or pickle; None for anything else."""
    if (path / vaults.MARK).is_file():
        return "vault"
    if (path / array_folders.MARK).is_file():
        return "arrays"
    return "pickle" if pickles_in(path) else None


def pickles_in(path: Path) -> list[Path]:
    """The pickles of a folder by their numbers, or the one that the path is."""
    if path.suffix == ".pkl" and path.is_file():
        return [path]
    found = path.glob("part_*.pkl") if path.is_dir() else ()
    return sorted(found, key=lambda file: (number_of(file), file.name))


def sources_below(path: Path) -> list[tuple[Path, str]]:
    """Every folder at or below `path` that holds foreign data, and of which kind."""
    folders = [path, *sorted(p for p in path.rglob("*") if p.is_dir())] if path.is_dir() else [path]
    return [(folder, kind) for folder in folders if (kind := kind_of(folder))]


def advice(folder: Path, kind: str) -> str:
    """How to make such data readable, as the command."""
    return f"{folder} is a {NAMES[kind]}: lab data convert {folder} TARGET --task NAME"


NAMES = {
    "vault": "OG-MARL vault",
    "arrays": "folder of arrays (OMAR)",
    "pickle": "folder of pickles (ODIS)",
}
