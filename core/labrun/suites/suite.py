"""A suite as its file says it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from labrun.config.placed_words import Placed
from labrun.results.directions import is_rate

Words = tuple[Placed, ...]
Unit = Literal["fraction", "percent", "tokens", "count", "return", "score"]
UNITS: tuple[Unit, ...] = get_args(Unit)
PUBLISHED_SCALE = "paper"
"""The one scale whose results stand beside published numbers without being called a toy."""


@dataclass(frozen=True)
class Source:
    """Where the published numbers come from."""

    paper: str
    table: str
    of: str
    """What a published number is of: model, data, metric, samples, seeds."""
    read_from: str = ""
    """How the numbers are known, where not from the paper's own text."""


@dataclass(frozen=True)
class Row:
    """One line of the table: a score, or the weighted mean of the scores of several tasks."""

    name: str
    tasks: Mapping[str, float]
    """Task -> its weight."""
    metric: str
    unit: Unit = "fraction"
    """Unit of the published numbers and of the table. percent: 100 times the run's score; score:
    the metric's own."""
    at: Mapping[str, str] = field(default_factory=dict)
    """Axis -> its label; the row is a mean over the labels of every other axis."""
    is_change: bool = False
    """Whether the value is the change since the score before training, relative to that score."""
    published: Mapping[str, float] = field(default_factory=dict)
    """Arm -> published number, in the unit."""


def unit_of(metric: str) -> Unit:
    """The unit of a row that names none: a share is a fraction, all else has the metric's own."""
    return "fraction" if is_rate(metric) else "score"


@dataclass(frozen=True)
class Scale:
    """A size at which the suite runs, with all that holds there."""

    name: str
    toy: str
    """What makes its results those of a toy; empty at the published size."""
    overrides: Words
    """The suite's common words and this scale's."""
    arms: Mapping[str, Words]
    axes: Mapping[str, Mapping[str, Words]]
    """Axis -> label -> words: every arm runs once at every combination."""
    left_out: tuple[Mapping[str, str], ...]
    """Combinations that are not run: `arm` and axis -> label."""
    rows: tuple[Row, ...]
    """The table's lines; none: every score of the runs."""
    needs: Mapping[str, str]
    """Key that the command has to set -> what it is: data that no package brings."""
    seeds: str
    """Values of `seed`, as in a sweep."""


@dataclass(frozen=True)
class Suite:
    name: str
    path: Path
    question: str
    source: Source | None
    expected: str
    """What the paper says in words, or what its author expects."""
    notes: tuple[str, ...]
    """How these runs differ from the published ones."""
    scales: Mapping[str, Scale]

    def published_scale(self) -> Scale | None:
        return self.scales.get(PUBLISHED_SCALE)
