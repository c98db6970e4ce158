"""Writer of episodes in the layout of `hdf5_files`."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from lab_marl.episodes.episodes import Episodes
from lab_marl.episodes.hdf5_files import SCHEMA_VERSION, layout_json
from lab_marl.episodes.layouts import Layout

CHUNK = 32
"""Episodes in one compressed chunk, at most."""
CHUNK_BYTES = 2**20
"""Of one chunk's observations, at most: who draws an episode from a file unpacks a whole chunk."""
LEVEL = 4
"""gzip level: beyond it files shrink little and writing slows."""


def write(
    path: Path,
    episodes: Episodes,
    layout: Layout,
    *,
    attributes: Mapping[str, str | int | float],
    flagged: bool = True,
) -> None:
    """Write one part, complete when it appears under its name.

    Root attributes are `schema_version`, `layout` (JSON) and those given. Episodes that are not
    `flagged` don't say where they were cut off: the key `truncated` is left out, so that a run
    tells it by their length.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with composed(draft) as out:
            out.attrs["schema_version"] = SCHEMA_VERSION
            out.attrs["layout"] = layout_json(layout)
            for name, value in attributes.items():
                out.attrs[name] = value
            chunk = max(1, min(CHUNK, CHUNK_BYTES // max(1, episodes.obs[:1].nbytes)))
            for name, values in episodes.arrays():
                if name == "truncated" and not flagged:
                    continue
                _write_key(out, name, values, layout, chunk=chunk)
        with open(draft, "rb") as written:
            os.fsync(written.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def composed(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file that is composed in memory and written at the end.

    HDF5 does not recover from a disk that is full: it prints dozens of lines, and the process
    crashes later. Raises OSError where the file cannot be written.
    """
    with h5py.File(path.name, "w", driver="core", backing_store=False) as out:
        yield out
        out.flush()
        image = out.id.get_file_image()
    path.write_bytes(image)


def _write_key(
    out: h5py.File, name: str, values: np.ndarray, layout: Layout, *, chunk: int
) -> None:
    if values.ndim == 2 or (name == "actions" and not layout.continuous):
        values = values[..., None]
    if values.dtype == bool:
        values = values.astype(np.uint8)
    chunks = (min(chunk, len(values)), *values.shape[1:])
    out.create_dataset(name, data=values, chunks=chunks, compression="gzip", compression_opts=LEVEL)
