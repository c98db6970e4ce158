"""The figure of the analysis `reflection`: flip rates, paired differences, and where it cut in."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lab_rlrt.analysis.reflection.flips import ARMS, Rate
from lab_rlrt.analysis.traces import Trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lab_rlrt.analysis.reflection.interventions import Intervention

STYLES: Mapping[str, tuple[str, str, str]] = {
    "max": ("phrase at largest KL", "#d95f02", ""),
    "max_control": ("continued from there", "#fdcba0", "//"),
    "random": ("phrase at a random position", "#1f77b4", ""),
    "random_control": ("continued from there", "#b3cde3", "//"),
}
"""Arm -> label, colour, hatching."""
PANELS = (
    ("flip", "any flip"),
    ("to_wrong", "correct to wrong"),
    ("to_correct", "wrong to correct"),
)
PAIRED = (
    ("flip_max_minus_random", "largest KL - random\n(both with phrase)"),
    ("flip_max_minus_control", "phrase - control\nat largest KL"),
    ("flip_random_minus_control", "phrase - control\nat random"),
    ("flip_excess", "what the phrase adds:\nlargest KL - random"),
)
BINS = 10
"""Bars of the histogram of positions."""
HEADROOM = 1.2
"""Height of the panel of rates, in its highest interval: leaves room for the legend."""


def draw(
    rates: Mapping[str, Rate],
    traces: Sequence[Trace],
    arms: Sequence["Intervention"],
    *,
    title: str,
) -> "Figure":
    """Shares and paired differences with their 95% intervals, and where the positions lie."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.5, 1.1, 0.9))
    _draw_rates(left, rates)
    _draw_paired(middle, rates)
    _draw_positions(right, traces, arms)
    figure.suptitle(f"Reflection injection: {title}", parse_math=False)
    return figure


def _draw_rates(axis: Any, rates: Mapping[str, Rate]) -> None:
    width = 0.8 / len(ARMS)
    names = list(PANELS)
    for number, arm in enumerate(ARMS):
        label, colour, hatch = STYLES[arm]
        for place, (kind, _) in enumerate(names):
            rate = rates.get(f"{kind}_{arm}")
            if rate is None:
                continue
            x = place + (number - 1.5) * width
            axis.bar(
                x,
                rate.value,
                width * 0.92,
                color=colour,
                hatch=hatch,
                edgecolor="white",
                label=label if place == 0 else None,
            )
            axis.errorbar(x, rate.value, yerr=_error(rate), color="black", lw=1, capsize=2)
    labels = [
        f"{label}\n(n={rates[f'{kind}_max'].n})" if f"{kind}_max" in rates else label
        for kind, label in names
    ]
    axis.set_xticks(range(len(names)), labels)
    highest = max(rate.high for name, rate in rates.items() if name.endswith(ARMS))
    axis.set(ylabel="share of rollouts whose outcome flips", ylim=(0, HEADROOM * highest))
    axis.legend(frameon=False, fontsize="small", ncols=2, loc="upper left")
    axis.grid(axis="y", alpha=0.3)


def _error(rate: Rate) -> list[list[float]]:
    """The ends' distances from the value; 0 for an end that lies beyond it, as a percentile may."""
    return [[max(0.0, rate.value - rate.low)], [max(0.0, rate.high - rate.value)]]


def _draw_paired(axis: Any, rates: Mapping[str, Rate]) -> None:
    for place, (name, _) in enumerate(PAIRED):
        rate = rates[name]
        axis.errorbar(rate.value, place, xerr=_error(rate), fmt="o", color="black", capsize=3)
        text = f"{rate.value:+.2f} [{rate.low:+.2f}, {rate.high:+.2f}]"
        axis.annotate(
            text, (rate.value, place), (0, 8), textcoords="offset points", ha="center", fontsize=8
        )
    axis.axvline(0, color="grey", lw=1)
    axis.set_yticks(range(len(PAIRED)), [label for _, label in PAIRED], fontsize="small")
    axis.set_ylim(len(PAIRED) - 0.5, -0.6)
    axis.margins(x=0.3)
    axis.set_xlabel("paired difference of flip rates")
    axis.grid(axis="x", alpha=0.3)


def _draw_positions(axis: Any, traces: Sequence[Trace], arms: Sequence["Intervention"]) -> None:
    """Where in the rollouts the two positions lie; a control lies where its arm does."""
    lengths = {item.rollout.index: len(item.tokens) for item in traces}
    edges = np.linspace(0, 1, BINS + 1)
    for arm, name in (("max", "largest KL"), ("random", "random")):
        places = [(a.position + 0.5) / lengths[a.rollout.index] for a in arms if a.arm == arm]
        axis.hist(places, edges, color=STYLES[arm][1], histtype="step", lw=2, label=name)
    axis.set(xlabel="relative position", ylabel="rollouts", xlim=(0, 1))
    axis.legend(frameon=False, fontsize="small")
