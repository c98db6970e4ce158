"""Cells of the table: a mean over seeds with one of several intervals."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from labrun.results.statistics.bootstrap import hierarchical
from labrun.results.statistics.intervals import Bounded, Interval, crossed_interval, t_interval
from labrun.score import Score

AUTO = "auto"
"""Over seeds where a cell has several, else over problems."""
MEANING: Mapping[str, str] = {
    "seeds": "the 95% t-interval over seeds, for the same problems",
    "problems": "the 95% t-interval over problems, for these trained models",
    "both": "the 95% t-interval over seeds and problems, for problems of their kind",
    "bootstrap": "the 95% hierarchical bootstrap over seeds and problems",
}
"""Interval -> its name and what it speaks of; docs/results/statistics.md has their coverage."""
INTERVALS = (AUTO, *MEANING)


@dataclass(frozen=True)
class Cell(Interval):
    """Mean, half width and number of seeds; `by` names the interval, a key of MEANING."""

    by: str = "seeds"
    ends: tuple[float, float] | None = None
    """Of an interval that is not symmetric."""
    values: tuple[float, ...] = ()
    """The score of each seed."""
    num_problems: int = 0
    """Items of each score; 0 where the evaluator gives none or seeds differ in it, and for a mean
    over tasks."""

    def __str__(self) -> str:
        if self.ends is None:
            return super().__str__()
        return str(Bounded(self.mean, self.low, self.high))

    @property
    def low(self) -> float:
        return self.ends[0] if self.ends else super().low

    @property
    def high(self) -> float:
        return self.ends[1] if self.ends else super().high


def cell_of(by_seed: Sequence[Sequence[Score]], by: str) -> Cell | None:
    """The cell of the scores of each seed; several of one seed count as their mean.

    None without a score. An interval over problems is empty where there are no items, and for a
    mean over tasks.
    """
    if not by_seed:
        return None
    values = [float(np.mean([score.value for score in scores])) for scores in by_seed]
    items = _items(by_seed)
    if by == AUTO:
        by = "seeds" if len(values) > 1 else "problems"
    found = t_interval(values)
    made = Cell(found.mean, found.half_width, found.n, by, None, tuple(values), items.shape[1])
    return made if by == "seeds" else _over_items(made, items)


def _items(by_seed: Sequence[Sequence[Score]]) -> np.ndarray:
    """The items (S, P), or (S, 0) where the scores have none or not equally many.

    A mean over tasks has none here: these tasks were chosen, not drawn.
    """
    lengths = {0 if score.over else len(score.items) for scores in by_seed for score in scores}
    if len(lengths) != 1 or lengths == {0}:
        return np.empty((len(by_seed), 0))
    return np.array([np.mean([score.items for score in scores], axis=0) for scores in by_seed])


def _over_items(made: Cell, items: np.ndarray) -> Cell:
    if items.shape[1] < 2:
        return replace(made, half_width=math.nan)
    if made.by == "bootstrap":
        bounded = hierarchical(items, np.random.default_rng(0))
        ends = (bounded.low, bounded.high)
        return replace(made, half_width=(ends[1] - ends[0]) / 2, ends=ends)
    return replace(made, half_width=WIDTHS[made.by](items))


WIDTHS: Mapping[str, Callable[[np.ndarray], float]] = {
    "problems": lambda items: t_interval(items.mean(0).tolist()).half_width,
    "both": lambda items: crossed_interval(items).half_width,
}
