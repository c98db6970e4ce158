"""The figure of the analysis `promotion`: two models' probabilities, and a list."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lab_rlrt.analysis.promotion.places import Places

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELLS = 60
"""Cells of the histogram along each axis."""
MARK = "#d95f02"
LOWEST = -14.0
"""Lowest natural logarithm of a probability that is drawn; lower ones lie on the edge."""


def draw(
    places: Places, rows: Sequence[Mapping[str, Any]], *, threshold: float, title: str
) -> "Figure":
    """Positions by the sampled token's two probabilities and by the top token's, and counts."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4.6), layout="constrained")
    sampled, top, bars = figure.subplots(1, 3, width_ratios=(1, 1, 0.8))
    _draw_cells(figure, sampled, places.base_sampled.numpy(), places.trained_sampled.numpy())
    sampled.set_title("sampled tokens", fontsize="medium")
    _draw_cells(figure, top, places.base.numpy(), places.trained.numpy())
    _mark(top, places, threshold)
    share = places.promoted.double().mean().item()
    top.set_title(
        f"top-1 tokens; promoted: {int(places.promoted.sum())} of {len(places.top)} "
        f"({1000 * share:.2f} in 1,000)",
        fontsize="medium",
    )
    _draw_bars(bars, rows)
    figure.suptitle(f"Token promotion: {title}", parse_math=False)
    return figure


def _draw_cells(figure: "Figure", axis: Any, base: np.ndarray, trained: np.ndarray) -> None:
    from matplotlib.colors import LogNorm

    edges = np.linspace(LOWEST, 0.0, CELLS + 1)
    x, y = (np.clip(values, LOWEST, -1e-9) for values in (base, trained))
    *_, cells = axis.hist2d(x, y, bins=(edges, edges), norm=LogNorm(), cmap="viridis")
    axis.plot([LOWEST, 0], [LOWEST, 0], color="grey", lw=0.8, ls="--")
    axis.set(
        xlabel="log probability, base (nats)", ylabel="log probability, evaluated model (nats)"
    )
    figure.colorbar(cells, ax=axis, label="positions")


def _mark(axis: Any, places: Places, threshold: float) -> None:
    """The region of base probability below the threshold, and the promoted tokens in it."""
    edge = math.log(threshold)
    axis.axvspan(LOWEST, edge, color=MARK, alpha=0.1, lw=0)
    axis.axvline(edge, color=MARK, lw=1)
    axis.text(edge, LOWEST * 0.97, f"p = {threshold:g} ", color=MARK, va="bottom", ha="right")
    x = np.clip(places.base[places.promoted].numpy(), LOWEST, 0)
    axis.scatter(x, places.trained[places.promoted].numpy(), s=14, color=MARK, lw=0)


def _draw_bars(axis: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        axis.axis("off")
        axis.text(0.5, 0.5, "no token is promoted", ha="center", transform=axis.transAxes)
        return
    places = range(len(rows))
    axis.barh(places, [row["count"] for row in rows], color=MARK, alpha=0.35, label="top-1")
    axis.barh(places, [row["sampled"] for row in rows], color=MARK, height=0.4, label="and sampled")
    axis.set_yticks(places, [repr(row["token"]) for row in rows], parse_math=False)
    axis.invert_yaxis()
    axis.set(xlabel="positions", title="promoted tokens")
    axis.legend(frameon=False, fontsize="small")
