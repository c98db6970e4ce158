"""Accuracy, length and epistemic words over levels of context."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from labrun.results.statistics.intervals import Interval, t_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lab_epistemic.richness.scores import LevelResult

PANELS = {
    "accuracy": "accuracy",
    "completion_length": "length (tokens)",
    "epistemic_words": "epistemic words a response",
}
NAMES = {"none": "none", "answer": "answer", "without_thinking": "s \\ think", "solution": "s"}


def draw(results: "Sequence[LevelResult]", words: Sequence[str], *, title: str) -> "Figure":
    """The three panels of one run, with 95% t-intervals over problems."""
    cells: dict[str, dict[str, Interval]] = {metric: {} for metric in PANELS}
    for result in results:
        items = result.by_problem(words)
        for metric in PANELS:
            cells[metric][result.level] = t_interval([*items[metric].values()])
    return panels(cells, title=title)


def panels(cells: Mapping[str, Mapping[str, Interval]], *, title: str) -> "Figure":
    """A panel for each metric of PANELS: its mean and interval at each level, in the levels' order.

    A mean of one has no interval.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(PANELS), 3.4), layout="constrained")
    axes = figure.subplots(1, len(PANELS))
    for axis, (metric, label) in zip(axes, PANELS.items(), strict=True):
        means = [found.mean for found in cells[metric].values()]
        widths = [0.0 if math.isnan(f.half_width) else f.half_width for f in cells[metric].values()]
        axis.errorbar(range(len(means)), means, yerr=widths, marker="o", capsize=3)
        axis.set_xticks(range(len(means)), [NAMES.get(level, level) for level in cells[metric]])
        axis.set(ylabel=label, xlabel="what the prompt shows")
        axis.set_ylim(bottom=0)
        axis.margins(x=0.08)
        axis.grid(alpha=0.3)
    axes[0].set_ylim(0, 1.02)
    figure.suptitle(title, fontsize=10)
    return figure
