"""Lines of text files, plain or compressed by gzip."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from labrun.errors import LabError

GZIP = ".gz"
FOREIGN = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x1f\x8b": "gzip", b"PAR1": "Parquet"}
"""First bytes of what is no text in UTF-8, and what it is."""
ADVICE = {"gzip": f"; let the file's name end in {GZIP}", "UTF-16": "; save the file as UTF-8"}


def ending(file: Path) -> str:
    """What the file's name ends in, without `.gz`: `.csv` of `a.csv.gz`."""
    return (Path(file.stem) if file.suffix == GZIP else file).suffix


def stem(file: Path) -> str:
    """The file's name without its endings: `a` of `a.csv.gz`."""
    return (Path(file.stem) if file.suffix == GZIP else file).stem


def read_lines(file: Path) -> Iterator[bytes]:
    """The file's lines with their ends. Raises LabError where it cannot be read."""
    try:
        with gzip.open(file) if file.suffix == GZIP else file.open("rb") as lines:
            yield from lines
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise LabError(f"{file} is damaged: {error}; copy or download it again") from error
    except OSError as error:
        raise LabError(f"{file} cannot be read: {error.strerror}") from error


def refuse_foreign(line: bytes, where: str, *, read: str) -> None:
    """Raises LabError where the line's first bytes are those of another format."""
    for start, kind in FOREIGN.items():
        if line.startswith(start):
            raise LabError(f"{where} is {kind}; {read} in UTF-8 are read{ADVICE.get(kind, '')}")
