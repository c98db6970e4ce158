"""Reader of `part_*.pkl`: a dict of NumPy arrays in the published layout. No code in it is run.

A pickle is a program, and what it builds it may change later: an array's dtype, for one. So
NumPy's names are answered by stand-ins, which keep what they are told. The arrays are made here.
"""

import math
import pickle
import pickletools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from labrun.errors import LabError, shown

NUMBERS = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
"""The codes of the dtypes that are read."""
MOST_AXES = 8


class RefusedError(Exception):
    """What a pickle of arrays does not hold."""


class Kind:
    """`numpy.dtype(code)`, with the byte order that the pickle sets afterwards."""

    def __init__(self, code: object, *_: object) -> None:
        self.code, self.order = str(code), ""

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "|", "="):
            raise RefusedError("a dtype has a state that NumPy does not write")
        if any(part is not None for part in state[2:5]):
            raise RefusedError("a dtype has fields")
        self.order = state[1]

    def __str__(self) -> str:
        return self.order.strip("|=") + self.code


class Array:
    """An array as the pickle tells it: bytes, dtype, shape, order of the axes."""

    def __init__(
        self, content: object = None, kind: object = None, shape: object = None, order: object = "C"
    ) -> None:
        self.content, self.kind, self.shape, self.order = content, kind, shape, order

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise RefusedError("an array has a state that NumPy does not write")
        _, self.shape, self.kind, is_fortran, self.content = state
        self.order = "F" if is_fortran else "C"

    def numbers(self) -> np.ndarray:
        """Raises RefusedError for what is no array of numbers, or not wholly there."""
        kind, content, shape = self.kind, self.content, _sizes(self.shape)
        if not isinstance(kind, Kind):
            raise RefusedError("holds an array without numbers")
        if kind.code.startswith("O"):
            raise RefusedError("holds Python objects, expected numbers")
        if kind.code not in NUMBERS:
            raise RefusedError(f"holds {shown(str(kind))}, expected real numbers")
        if shape is None or not isinstance(content, bytes | bytearray):
            raise RefusedError("holds an array without numbers")
        dtype = np.dtype(kind.order + kind.code)
        wanted = math.prod(shape) * dtype.itemsize
        if len(content) != wanted:
            raise RefusedError(f"has {len(content)} bytes, its shape {shape} needs {wanted}")
        return np.frombuffer(content, dtype).reshape(shape, order="F" if self.order == "F" else "C")


def _sizes(shape: object) -> tuple[int, ...] | None:
    """The shape, where it is one."""
    if not isinstance(shape, tuple) or len(shape) > MOST_AXES:
        return None
    return shape if all(type(size) is int and size >= 0 for size in shape) else None


def _latin1(text: object, encoding: object) -> bytes:
    """`_codecs.encode`, by which old protocols write bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise RefusedError("it asks for _codecs.encode of something else than bytes")
    return text.encode("latin-1")


class Name:
    """What the pickle calls by a name of NumPy's; it cannot be changed."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., object]) -> None:
        self._call = call

    def __call__(self, *told: object) -> object:
        return self._call(*told)

    def __setstate__(self, state: object) -> None:
        raise RefusedError("it would change a function")


def _no_call(*_: object) -> object:
    raise RefusedError("it calls numpy.ndarray")


def _empty(*_: object) -> Array:
    """`_reconstruct`, whose array gets its content later."""
    return Array()


STAND_INS: dict[tuple[str, str], Callable[..., object]] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _empty for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): Array for core in ("core", "_core")},
    ("numpy", "dtype"): Kind,
    ("numpy", "ndarray"): _no_call,
    ("_codecs", "encode"): _latin1,
}
"""(module, name) of what a pickle of NumPy arrays refers to -> what answers."""


class ArrayUnpickler(pickle.Unpickler):
    """Makes stand-ins and plain Python values, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in STAND_INS:
            raise RefusedError(f"it asks for {module}.{name}")
        return Name(STAND_INS[module, name])


def read(file: Path) -> dict[str, np.ndarray]:
    """The arrays of one file by key. Raises LabError for a file that holds anything else."""
    try:
        with file.open("rb") as stored:
            _check_memo(stored)
            content = ArrayUnpickler(stored).load()
    except OSError as error:
        raise LabError(f"{file} cannot be read: {error.strerror}") from error
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to ask for
        reason = shown(str(error)) or type(error).__name__
        raise LabError(
            f"{file} is not read: {reason}; only a dict of NumPy arrays is safe to read; where it "
            "was made, save its arrays with h5py as part_0.h5"
        ) from error
    if not isinstance(content, dict):
        raise LabError(f"{file} holds a {type(content).__name__}, expected a dict of arrays by key")
    return {shown(str(key)): _array(file, shown(str(key)), told) for key, told in content.items()}


def _check_memo(stored: BinaryIO) -> None:
    """Refuse a memo with gaps: the reader would take memory for all that lies before a number."""
    most = 0
    for opcode, number, _ in pickletools.genops(stored):
        if "PUT" in opcode.name and isinstance(number, int):
            if number > most:
                raise RefusedError("its memo has gaps")
            most = max(most, number + 1)
        most += opcode.name == "MEMOIZE"
    stored.seek(0)


def _array(file: Path, key: str, told: object) -> np.ndarray:
    if not isinstance(told, Array):
        raise LabError(f"{file}: {key} holds a {_kind(told)}, expected a NumPy array")
    try:
        return told.numbers()
    except RefusedError as error:
        raise LabError(f"{file}: {key} {error}") from error


def _kind(told: object) -> str:
    names: Sequence[tuple[type, str]] = ((Kind, "dtype"), (Name, "function"))
    return next((name for kind, name in names if isinstance(told, kind)), type(told).__name__)
