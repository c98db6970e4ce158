"""Reader of `part_*.pkl`: a dict of NumPy arrays in the published layout. No code in it is run."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from labrun.errors import LabError, shown

from lab_marl.episodes import opcodes
from lab_marl.episodes.opcodes import Encoded, RefusedError, Scalar, StoredArray

NUMBERS = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}
"""Codes of the NumPy types that are read."""
NEXT = "where it was made, save its arrays with h5py as part_0.h5"
NAMES = {Scalar: "single number", StoredArray: "NumPy array without content"}
KEY = 60
"""Characters of a key that a refusal shows."""


def read(file: Path) -> dict[str, np.ndarray]:
    """The arrays of one file by key. Raises LabError for a file that holds anything else."""
    content = _content(file)
    if not isinstance(content, dict):
        raise LabError(f"{file} holds a {_kind(content)}, expected a dict of arrays by key; {NEXT}")
    stored = {shown(key, limit=KEY): values for key, values in content.items()}
    sizes: dict[int, int] = {}
    for key, values in stored.items():
        try:
            sizes[id(values)] = _num_bytes(values)
        except RefusedError as error:
            raise LabError(f"{file}: {key} {error}; {NEXT}") from error
    # Arrays may share their content: a small file must not become a large folder.
    claimed, held = sum(sizes.values()), file.stat().st_size
    if claimed > held:
        raise LabError(
            f"{file}: its arrays have {claimed} bytes, the file has {held}; it is damaged or made "
            f"to mislead; {NEXT}"
        )
    return {key: _array(file, key, values) for key, values in stored.items()}


def _content(file: Path) -> Any:
    try:
        with file.open("rb") as stored:
            return opcodes.run(stored, file.stat().st_size)
    except OSError as error:
        raise LabError(f"{file} cannot be read: {error.strerror}") from error
    except RefusedError as error:
        reason = shown(str(error))
        raise LabError(
            f"{file} is not read: {reason}; only a dict of NumPy arrays is safe to read; {NEXT}"
        ) from error
    except (ValueError, LookupError, MemoryError) as error:
        reason = shown(str(error)) or type(error).__name__
        raise LabError(
            f"{file} is not read: it is damaged or no pickle ({reason}); get it again, or {NEXT}"
        ) from error


def _kind(value: Any) -> str:
    return NAMES.get(type(value), type(value).__name__)


def _num_bytes(stored: Any) -> int:
    """Bytes of an array's numbers. Raises RefusedError where its content is another."""
    if not isinstance(stored, StoredArray) or stored.type is None:
        raise RefusedError(f"holds a {_kind(stored)}, expected a NumPy array")
    if stored.content is None:
        raise RefusedError("holds Python objects, expected numbers")
    if stored.type.code not in NUMBERS:
        raise RefusedError(f"holds the type {shown(stored.type.code)}, expected real numbers")
    content = stored.content.text if isinstance(stored.content, Encoded) else stored.content
    expected = math.prod(stored.shape) * int(stored.type.code[1:])
    if len(content) != expected:
        found = f"{len(content)} bytes, its shape {shown(str(stored.shape), limit=KEY)} {expected}"
        raise RefusedError(f"has {found}")
    return expected


def _array(file: Path, key: str, stored: StoredArray) -> np.ndarray:
    """The numbers of an array that `_num_bytes` has checked."""
    try:
        values = _numbers(stored)
    except ValueError as error:  # a text beyond Latin-1, or more axes than NumPy has
        reason = shown(str(error), limit=160)
        raise LabError(f"{file}: {key} is damaged: {reason}; {NEXT}") from error
    assert stored.type is not None
    if stored.type.code != "b1":
        return values
    if (values > 1).any():
        raise LabError(
            f"{file}: {key} holds a truth value of {values.max()}, expected 0 or 1; {NEXT}"
        )
    return values.view(bool)


def _numbers(stored: StoredArray) -> np.ndarray:
    """As they lie in the file, not copied; truth values as the bytes that stand for them."""
    content, kind = stored.content, stored.type
    assert content is not None
    assert kind is not None
    raw = content.text.encode("latin1") if isinstance(content, Encoded) else content
    dtype = np.dtype("u1" if kind.code == "b1" else kind.order + kind.code)
    return np.frombuffer(raw, dtype).reshape(stored.shape, order="F" if stored.fortran else "C")
