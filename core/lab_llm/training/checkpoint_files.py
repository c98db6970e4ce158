"""The files of a checkpoint in the formats of the language-model trainers."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open


def first_unreadable(folder: Path) -> Path | None:
    """The first file of the checkpoint that is not what its name says; None where all can be
    read. No pickle is run."""
    for path in sorted(folder.rglob("*")):
        read = READERS.get(path.suffix)
        try:
            if read is not None and path.is_file():
                read(path)
        except Exception:  # whatever a parser says of a damaged file
            return path
    return None


def _tensors(path: Path) -> None:
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118, it is no mapping
            file.get_slice(name).get_shape()


def read_pickled(path: Path) -> None:
    """Raise where torch cannot read the file; no pickle is run."""
    from transformers.trainer_pt_utils import safe_globals

    with safe_globals():
        torch.load(path, map_location="cpu", weights_only=True)


def _parsed(path: Path) -> None:
    if json.loads(path.read_bytes()) is None:
        raise ValueError("null")


READERS: Mapping[str, Callable[[Path], Any]] = {
    ".safetensors": _tensors,
    ".pt": read_pickled,
    ".pth": read_pickled,
    ".json": _parsed,
}
"""Ending -> what raises where the file is damaged; `.bin` holds TRL's settings, never read back."""
