"""From data in the form of another project to files in the published layout."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from labrun.errors import LabError

from lab_marl import environments
from lab_marl.datasets import foreign
from lab_marl.episodes import array_folders, hdf5_reader, hdf5_writer, pickles, vaults
from lab_marl.episodes.episodes import Episodes
from lab_marl.episodes.layouts import Layout


def convert(source: Path, target: Path, *, task: str, quality: str) -> list[str]:
    """One line for each file written: `target/<task>/<quality>/<source's name>/part_i.h5`.

    Every episode is checked first, and a file appears complete. Raises LabError for an unknown
    task, a source of no known form, content that does not fit the task, and files that are there.
    """
    layout = environments.layout_of(task)
    kind = foreign.kind_of(source)
    if kind is None:
        raise LabError(
            f"{source} holds no OG-MARL vault ({vaults.MARK}), no arrays ({array_folders.MARK}) "
            "and no part_*.pkl; nothing to convert"
        )
    folder = target / task / quality / source.absolute().name.removesuffix(".pkl")
    if folder.exists():
        raise LabError(f"{folder} is there already; name another target or quality")
    checked = [_checked(part, arrays, layout) for part, arrays in _parts(source, kind, layout)]
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise LabError(f"cannot make {folder}: {error.strerror}; name another target") from error
    return [_write(folder / f"part_{i}.h5", episodes, layout) for i, episodes in enumerate(checked)]


def _parts(source: Path, kind: str, layout: Layout) -> Iterator[tuple[Path, dict[str, np.ndarray]]]:
    """Each part with its arrays by the published keys."""
    if kind == "pickle":
        for file in foreign.pickles_in(source):
            yield file, pickles.read(file)
    else:
        read = vaults.read if kind == "vault" else array_folders.read
        yield source, read(source, layout)


def _checked(source: Path, arrays: dict[str, np.ndarray], layout: Layout) -> Episodes:
    """The episodes, read as those of a file are, so that every check is the same."""
    with tempfile.TemporaryDirectory() as scratch:
        draft = Path(scratch) / "part_0.h5"
        with h5py.File(draft, "w") as out:
            for key, values in arrays.items():
                out.create_dataset(key, data=values)
        try:
            return hdf5_reader.read([draft], layout)
        except LabError as error:
            raise LabError(str(error).replace(str(draft), str(source))) from error


def _write(file: Path, episodes: Episodes, layout: Layout) -> str:
    attributes = {
        "task": layout.task,
        "mean_return": float(episodes.returns.mean()),
        "mean_length": float((episodes.lengths - 1).mean()),
    }
    hdf5_writer.write(file, episodes, layout, attributes=attributes)
    return (
        f"{len(episodes)} episodes, return {attributes['mean_return']:.2f}, "
        f"length {attributes['mean_length']:.1f}: {file}"
    )
