"""Rows of CSV and TSV files: a header, and cells that are texts."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from labrun.errors import LabError, listed

from lab_llm.datasets.text_lines import ending, read_lines, refuse_foreign

DELIMITERS = {".csv": ",", ".tsv": "\t"}
MAX_CELL = 1 << 24
"""Characters of one cell; beyond it a quote was never closed."""
READ = "cells in UTF-8 under a header are read"


def read_csv(file: Path) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    """The header's names, and every row with the line that it begins in.

    Raises LabError, with the line, for a row whose cells are not as many as the header's, an open
    quote, and bytes that are no UTF-8.
    """
    cells = _cells(file)
    _, header = next(cells, (0, []))
    if not header:
        raise LabError(f"{file} is empty: it has no rows")
    return header, _rows(file, header, cells)


def _rows(
    file: Path, header: Sequence[str], cells: Iterator[tuple[int, list[str]]]
) -> Iterator[tuple[int, dict[str, str]]]:
    for line, row in cells:
        if len(row) != len(header):
            raise LabError(
                f"{file} line {line} has {len(row)} cells, allowed: {len(header)}, as many as the "
                f"header ({listed(header)}); quote a cell that holds a comma or a line end"
            )
        yield line, dict(zip(header, row, strict=True))


def _cells(file: Path) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row that has any, with the line that it begins in."""
    csv.field_size_limit(MAX_CELL)
    reader = csv.reader(_texts(file), delimiter=DELIMITERS[ending(file)], strict=True)
    begins = 1
    try:
        for row in reader:
            if any(row):
                yield begins, row
            begins = reader.line_num + 1
    except csv.Error as error:
        raise LabError(f"{file} line {begins} is damaged: {error}; {READ}") from error


def _texts(file: Path) -> Iterator[str]:
    for number, line in enumerate(read_lines(file), start=1):
        where = f"{file} line {number}"
        if number == 1:
            refuse_foreign(line, where, read="cells")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise LabError(f"{where} is damaged: {error}; {READ}") from error
