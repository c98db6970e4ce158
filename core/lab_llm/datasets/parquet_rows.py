"""Rows of Parquet files as Python values, their numbers exactly as they are stored."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from labrun.errors import LabError

if TYPE_CHECKING:
    from pyarrow import DataType, RecordBatch

BATCH_SIZE = 256
"""Rows in memory at once."""

Convert = Callable[[Any], Any]
FLOATS = {16: np.float16, 32: np.float32, 64: np.float64}


def read_parquet(file: Path, top_level: Callable[[Sequence[str]], Sequence[str]]) -> Iterator[Any]:
    """Every row as a mapping, floating-point numbers as Decimal with their shortest digits.

    `top_level` chooses the columns among the file's. Raises LabError for a damaged file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            columns = list(top_level(table.schema_arrow.names))
            start = 1
            for batch in table.iter_batches(batch_size=BATCH_SIZE, columns=columns):
                convert = _converter(pa.struct(list(batch.schema)))
                rows = _plain(batch, file, start)
                yield from rows if convert is None else map(convert, rows)
                start += batch.num_rows
    except PermissionError as error:
        raise LabError(f"{file} cannot be read: {error.strerror}") from error
    except (pa.ArrowException, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise LabError(f"{file} is damaged: {reason}; copy or download it again") from error


def _plain(batch: "RecordBatch", file: Path, start: int) -> list[dict[str, Any]]:
    """The batch's rows, the first of which is row `start`.

    Raises LabError for text that is no UTF-8 and a time that Python cannot hold.
    """
    try:
        return batch.to_pylist()
    except (ValueError, OverflowError) as error:
        half = batch.num_rows // 2
        if half == 0:
            reason = str(error).splitlines()[0]
            raise LabError(f"{file} row {start} is damaged: {reason}; mend or drop it") from error
        return _plain(batch[:half], file, start) + _plain(batch[half:], file, start + half)


def _converter(kind: "DataType") -> Convert | None:
    """What makes Decimals of the floats in a value of this type; None where it holds none."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _converter(kind.value_type)
    if pa.types.is_floating(kind):
        # 0.1 of 32 bits is 0.100000001490116... with the digits of 64.
        stored = FLOATS[kind.bit_width]
        return lambda value: None if value is None else Decimal(str(stored(value)))
    if not pa.types.is_struct(kind):
        return None
    inside = {field.name: _converter(field.type) for field in kind}
    converts = {name: convert for name, convert in inside.items() if convert is not None}
    return _struct_converter(converts) if converts else None


def _struct_converter(converts: Mapping[str, Convert]) -> Convert:
    def convert(value: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        if value is None:
            return None
        return {**value, **{name: one(value[name]) for name, one in converts.items()}}

    return convert
