"""Reader of `part_*.pkl`: a dict of NumPy arrays in the published layout. No code in it is run."""

import pickle
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
from labrun.errors import LabError, shown

ALLOWED = {
    (module, name)
    for package in ("numpy.core", "numpy._core")
    for module, name in (
        (f"{package}.multiarray", "_reconstruct"),
        (f"{package}.multiarray", "scalar"),
        (f"{package}.numeric", "_frombuffer"),
    )
} | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}
"""What a pickle of NumPy arrays refers to."""


class ArrayUnpickler(pickle.Unpickler):
    """Makes NumPy arrays and plain Python values, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        found = super().find_class(module, name)
        if isinstance(found, FunctionType):  # a pickle can set a function's defaults: not NumPy's
            return FunctionType(found.__code__, found.__globals__, name, found.__defaults__)
        return found


def read(file: Path) -> dict[str, np.ndarray]:
    """The arrays of one file by key. Raises LabError for a file that holds anything else."""
    try:
        with file.open("rb") as stored:
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
    named = {shown(str(key)): values for key, values in content.items()}
    for key, values in named.items():
        if not isinstance(values, np.ndarray):
            kind = type(values).__name__
            raise LabError(f"{file}: {key} holds a {kind}, expected a NumPy array")
        if values.dtype.hasobject:
            raise LabError(f"{file}: {key} holds Python objects, expected numbers")
    _check_size(file, named)
    return named


def _check_size(file: Path, arrays: dict[str, np.ndarray]) -> None:
    """Refuse arrays whose numbers are not in the file: they would be whatever the memory held."""
    claimed = sum({id(values): values.nbytes for values in arrays.values()}.values())
    held = file.stat().st_size
    if claimed > held:
        raise LabError(
            f"{file}: its arrays have {claimed} bytes, the file has {held}; it is damaged or made "
            "to mislead"
        )
