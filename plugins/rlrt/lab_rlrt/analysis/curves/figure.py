"""The figure of the analysis `curves`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lab_rlrt.analysis.curves.smoothing import Curve, running_mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOGGED: Sequence[tuple[str, str]] = (
    ("reward", "reward"),
    ("entropy", "entropy (nats)"),
    ("completion_length", "completion length (tokens)"),
)
SCORED: Sequence[tuple[str, str]] = (
    ("accuracy", "accuracy"),
    ("completion_length", "evaluated completion length (tokens)"),
    ("epistemic_words", "epistemic words a completion"),
)
SMOOTHED = 10
"""Share of the steps, one in so many, over which the strong line averages."""


def draw(
    series: Mapping[str, Curve],
    evaluated: Mapping[str, Curve],
    *,
    collapse: int | None,
    title: str,
) -> "Figure":
    """Logged metrics above, with their running means; scores of each evaluation set below."""
    from matplotlib.figure import Figure

    scored = [part for part in SCORED if any(_is(name, part[0]) for name in evaluated)]
    rows = 2 if scored else 1
    figure = Figure(figsize=(13, 3.3 * rows), layout="constrained")
    axes = figure.subplots(rows, len(LOGGED), squeeze=False)
    for axis, (name, label) in zip(axes[0], LOGGED, strict=True):
        _draw_logged(axis, series.get(name, {}), label)
    for axis, (metric, label) in zip(axes[1] if scored else (), scored, strict=False):
        _draw_scored(axis, {n: c for n, c in evaluated.items() if _is(n, metric)}, label)
    for axis in axes[1][len(scored) :] if scored else ():
        axis.axis("off")
    for axis in axes.flat:
        if collapse is not None:
            axis.axvline(collapse, color="#d62728", ls="--", lw=1)
    if collapse is not None:
        axes[0][0].set_title(f"collapsed at step {collapse}", color="#d62728", fontsize="medium")
    figure.suptitle(f"Training: {title}", parse_math=False)
    return figure


def _is(name: str, metric: str) -> bool:
    return name.rpartition("/")[2] == metric


def _draw_logged(axis: Any, curve: Curve, label: str) -> None:
    steps, values = sorted(curve), [curve[step] for step in sorted(curve)]
    window = max(1, len(values) // SMOOTHED)
    axis.plot(steps, values, color="#1f77b4", alpha=0.3, lw=1)
    if values:
        axis.plot(steps[window - 1 :], running_mean(values, window), color="#1f77b4", lw=2)
    axis.set(xlabel=f"optimizer step (line: mean of {window})", ylabel=label)
    axis.grid(alpha=0.3)


def _draw_scored(axis: Any, curves: Mapping[str, Curve], label: str) -> None:
    for name, curve in curves.items():
        steps = sorted(curve)
        axis.plot(steps, [curve[s] for s in steps], "o-", ms=4, label=name.rpartition("/")[0])
    axis.set(xlabel="optimizer step", ylabel=label)
    axis.legend(frameon=False, fontsize="small")
    axis.grid(alpha=0.3)
