"""Packages put into a folder without pip, which starts four processes for each."""

import contextlib
import tempfile
import zipfile
from pathlib import Path

from hatchling import build


def unpack(source: Path, target: Path) -> None:
    """Fill `target` with what pip would: the wheel of the package in `source`, unpacked."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(source):
        name = build.build_wheel(folder)
        zipfile.ZipFile(Path(folder, name)).extractall(target)
