"""The figures of compared runs, study by study."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labrun.results.compare import START, Arm, Table, table
from labrun.results.statistics.intervals import Interval
from labrun.score import seeds_text

from lab_epistemic.richness import figure as richness_figure
from lab_epistemic.richness.config import LEVELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = {
    "accuracy": "accuracy",
    "epistemic_words": "epistemic words a response",
    "completion_length": "length (tokens)",
}


MARGIN = 0.02
"""Share of an axis that a panel leaves below zero, for the mark of a point that lies there."""
ALL = 4096
"""The place of "all" on the axis of |D|."""


def draw(arms: Sequence[Arm], folder: Path) -> list[Path]:
    """The figures that these arms' study has beyond the curves; paths of the PNGs in `folder`."""
    studies = {str(arm.runs[0].experiment().choices.get("study")) for arm in arms}
    made = {name: make(arms) for study, (name, make) in FIGURES.items() if study in studies}
    paths = {folder / f"{name}.png": figure for name, figure in made.items() if figure is not None}
    for path, figure in paths.items():
        figure.savefig(path, dpi=150)
    return list(paths)


def words_and_accuracy(arms: Sequence[Arm]) -> "Figure | None":
    """Accuracy of each set over the epistemic words in it, a point an arm.

    Both are the last score's mean over seeds with its 95% t-interval.
    """
    scores = table(arms)
    sets = [task for task, metric in scores.rows if metric == "accuracy"]
    sets = [task for task in sets if (task, "epistemic_words") in scores.rows]
    if not sets:
        return None
    figure, axes = _panels(len(sets))
    for axis, task in zip(axes, sets, strict=False):
        for label in scores.columns:
            words, accuracy = (
                scores.rows[task, m].get(label) for m in ("epistemic_words", "accuracy")
            )
            if words is not None and accuracy is not None:
                _point(axis, words, accuracy, label)
        axis.set(title=task, xlabel="epistemic words a response", ylabel="accuracy")
        # an interval may reach below zero, a count does not
        (_, right), (_, top) = axis.get_xlim(), axis.get_ylim()
        axis.set_xlim(left=max(axis.get_xlim()[0], -MARGIN * right))
        axis.set_ylim(bottom=max(axis.get_ylim()[0], -MARGIN * top))
    return _finished(figure, axes)


def coverage(arms: Sequence[Arm]) -> "Figure | None":
    """Every score over the number of training problems, a line a method."""
    scores = table(arms)
    lines: dict[str, dict[float, Arm]] = {}
    for arm in arms:
        experiment = arm.runs[0].experiment()
        size = _num_problems(experiment.settings["dataset"])
        lines.setdefault(experiment.choices["method"], {})[size] = arm
    shown = _shown([task for task, metric in scores.rows if metric == "accuracy"])
    shown = {key: title for key, title in shown.items() if key in scores.rows}
    if not lines or not shown:
        return None
    figure, axes = _panels(len(shown))
    for axis, (key, title) in zip(axes, shown.items(), strict=False):
        for method, by_size in sorted(lines.items()):
            _line(axis, {n: scores.rows[key].get(a.label) for n, a in by_size.items()}, method)
        _start(axis, scores, key)
        axis.set(title=title, xlabel="training problems |D|", xscale="log")
        sizes = sorted({size for by_size in lines.values() for size in by_size})
        axis.set_xticks([_place(size) for size in sizes], [_name(size) for size in sizes])
        axis.minorticks_off()
    return _finished(figure, axes)


def _shown(sets: Sequence[str]) -> dict[tuple[str, str], str]:
    """(set, metric) -> title: accuracy of every set, the training problems first; words and length
    of the first other one."""
    ordered = sorted(sets, key=lambda name: name != "seen")
    keys = [(name, "accuracy") for name in ordered]
    others = [name for name in ordered if name != "seen"][:1]
    keys += [
        (name, metric) for name in others for metric in ("epistemic_words", "completion_length")
    ]
    titles = {key: f"{NAMES[key[1]]}, {key[0]}" for key in keys}
    return titles | {("seen", "accuracy"): "accuracy on the training problems"}


def richness(arms: Sequence[Arm]) -> "Figure | None":
    """Accuracy, length and words over levels of context, mean over seeds; of one arm only."""
    scores = table(arms)
    levels = [level for level in LEVELS if (level, "accuracy") in scores.rows]
    if len(arms) > 1 or not levels:
        return None
    label = arms[0].label
    cells: dict[str, dict[str, Interval]] = {
        metric: {level: scores.rows[level, metric][label] for level in levels}
        for metric in richness_figure.PANELS
    }
    seeds = seeds_text([len(arms[0].runs)])
    return richness_figure.panels(cells, title=f"mean and 95% t-interval over {seeds}")


FIGURES: Mapping[str, tuple[str, Callable[[Sequence[Arm]], "Figure | None"]]] = {
    "main": ("words", words_and_accuracy),
    "onpolicy": ("words", words_and_accuracy),
    "offpolicy": ("words", words_and_accuracy),
    "objective": ("words", words_and_accuracy),
    "coverage": ("coverage", coverage),
    "coverage_rows": ("coverage", coverage),
    "richness": ("richness", richness),
}
"""Study -> the name of its PNG and what draws it."""


def _num_problems(dataset: Mapping[str, Any]) -> float:
    """|D| by the data set's settings; infinite where it takes all."""
    size = dataset.get("train_size", dataset.get("limit"))
    return math.inf if size is None else size


def _place(size: float) -> float:
    """Where |D| stands on the axis; "all" right of the sizes that a study names."""
    return ALL if math.isinf(size) else size


def _name(size: float) -> str:
    return "all" if math.isinf(size) else str(size)


def _panels(count: int) -> tuple["Figure", list["Axes"]]:
    from matplotlib.figure import Figure

    width = min(count, 3)
    height = -(-count // width)
    figure = Figure(figsize=(4.6 * width, 3.6 * height), layout="constrained")
    axes = figure.subplots(height, width, squeeze=False).ravel().tolist()
    for axis in axes[count:]:
        axis.axis("off")
    return figure, axes


def _point(axis: "Axes", x: Interval, y: Interval, label: str) -> None:
    xerr, yerr = (x.half_width, y.half_width) if x.n > 1 else (0.0, 0.0)
    at_start = label == START
    marker, colour = ("*", "black") if at_start else ("o", None)
    axis.errorbar(
        x.mean, y.mean, xerr=xerr, yerr=yerr, marker=marker, color=colour, label=label, capsize=2
    )


def _line(axis: "Axes", cells: Mapping[float, Interval | None], label: str) -> None:
    known = sorted((size, cell) for size, cell in cells.items() if cell is not None)
    if not known:
        return
    sizes = [_place(size) for size, _ in known]
    means = [cell.mean for _, cell in known]
    errors = [cell.half_width if cell.n > 1 else 0.0 for _, cell in known]
    axis.errorbar(sizes, means, yerr=errors, marker="o", markersize=4, capsize=2, label=label)


def _start(axis: "Axes", scores: Table, key: tuple[str, str]) -> None:
    start = scores.rows[key].get(START)
    if start is not None:
        axis.axhline(start.mean, color="black", lw=1, ls="--", label=START)


def _finished(figure: "Figure", axes: Sequence["Axes"]) -> "Figure":
    for axis in axes:
        axis.grid(alpha=0.3)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    return figure
