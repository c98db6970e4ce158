"""Where suites are: the published ones of this project, and files of the user's."""

import os
from pathlib import Path

from labrun.errors import LabError, listed, nearest, shown
from labrun.suites.reading import read
from labrun.suites.suite import Suite

IN_CHECKOUT = "benchmarks/suites"
PLACES = (
    Path(__file__).parent / "published",
    Path(__file__).resolve().parents[3] / IN_CHECKOUT,
)
"""Beside this module in an installed wheel; in a checkout, from its root."""


def files() -> dict[str, Path]:
    """Name -> file of every suite of this project."""
    found = {path.stem: path for place in PLACES for path in place.glob("*.yaml")}
    return dict(sorted(found.items()))


def find(name: str) -> Suite:
    """The suite of this name, or in this file. Raises LabError where there is none."""
    known = files()
    if name in known:
        return read(known[name])
    if name.endswith((".yaml", ".yml")) or os.sep in name:
        return read(Path(name))
    own = f"{name}.yaml"
    near = own if name and Path(own).is_file() else nearest(name, known)
    hint = f"did you mean {near!r}? " if near else ""
    allowed = f"suites: {listed(known, near=name, most=20)}" if known else nowhere()
    raise LabError(f"no suite '{shown(name)}'; {hint}{allowed}; a file of yours is named NAME.yaml")


def nowhere() -> str:
    """What to say where the suites of this project are not found."""
    return f"the published suites were not found: they lie in {IN_CHECKOUT} of a checkout"
