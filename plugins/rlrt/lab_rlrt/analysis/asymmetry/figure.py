"""The figure of the analysis `asymmetry`: coloured tokens, and both asymmetries along rollouts."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from labrun.results.statistics.intervals import t_interval

from lab_rlrt.analysis import colours
from lab_rlrt.analysis.traces import Trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, COLUMNS = 12.0, 88
"""Inches, and characters of a line."""
LINE_HEIGHT = 0.27
"""Inches of a line of tokens."""
CHARACTER = 0.602
"""Width of a character of DejaVu Sans Mono (em)."""
MOST_LINES = 5
"""Lines of one rollout; the rest is left out."""
BINS = 10
"""Parts of a rollout over which the curves average."""
POINTS_PER_INCH = 72.0

Placed = tuple[int, int, str, int]
"""Line, column, text and place in the rollout."""


def draw(traces: Sequence[Trace], shown: Sequence[Trace], *, title: str) -> "Figure":
    """The tokens of `shown`, and means over the rollouts of `traces`, by outcome."""
    from matplotlib.figure import Figure

    layouts = [list(laid_out(trace.tokens)) for trace in shown]
    num_lines = sum(2 + max(line for line, *_ in layout) for layout in layouts)
    height = num_lines * LINE_HEIGHT
    figure = Figure(figsize=(WIDTH, height + 3.7))
    total = height + 3.7
    text_axis = figure.add_axes((0.02, 3.2 / total, 0.9, height / total))
    at_most = colours.limit(v for trace in shown for v in trace.asymmetry)
    _draw_tokens(text_axis, shown, layouts, num_lines, at_most)
    _colour_bar(figure, (0.94, 3.3 / total, 0.012, max(height - 0.4, 1.0) / total), at_most)
    left = figure.add_axes((0.07, 0.55 / total, 0.38, 2.2 / total))
    right = figure.add_axes((0.55, 0.55 / total, 0.38, 2.2 / total))
    _draw_curves(left, traces, "asymmetry", "mean $D_t$ (nats)")
    _draw_curves(right, traces, "divergence", r"mean $\bar D_t$, KL (nats)")
    left.legend(frameon=False, fontsize="small")
    heading = f"Information asymmetry: {title}"
    figure.suptitle(heading, x=0.02, y=1 - 0.12 / total, ha="left", parse_math=False)
    return figure


def laid_out(tokens: Sequence[str], *, columns: int = COLUMNS) -> Iterator[Placed]:
    """Where each token stands: lines are broken between tokens and after newlines.

    A token longer than a line is cut. After MOST_LINES lines the rest is left out.
    """
    line = column = 0
    for place, token in enumerate(tokens):
        text = token.replace("\n", "↵")[:columns]
        if column + len(text) > columns:
            line, column = line + 1, 0
        if line >= MOST_LINES:
            return
        yield line, column, text, place
        column += len(text)
        if "\n" in token:
            line, column = line + 1, 0


def _draw_tokens(
    axis: Any,
    shown: Sequence[Trace],
    layouts: Sequence[list[Placed]],
    num_lines: int,
    at_most: float,
) -> None:
    from matplotlib.patches import Rectangle

    axis.set(xlim=(0, COLUMNS), ylim=(num_lines, 0))
    axis.axis("off")
    size = 0.9 * WIDTH / COLUMNS * POINTS_PER_INCH / CHARACTER
    style = {"va": "center", "parse_math": False, "family": "DejaVu Sans Mono"}
    top = 0
    for trace, layout in zip(shown, layouts, strict=True):
        outcome = "correct" if trace.rollout.correct else "wrong"
        colour = colours.CORRECT if trace.rollout.correct else colours.WRONG
        question = " ".join(trace.rollout.problem.prompt[-1]["content"].split())
        head = f"{outcome}:  {question}"[:COLUMNS]
        axis.text(0, top + 0.55, head, color=colour, weight="bold", size=size * 0.85, **style)
        asymmetry = trace.asymmetry
        for line, column, text, place in layout:
            y = top + 1 + line
            shade = _shade(asymmetry[place], at_most)
            axis.add_patch(Rectangle((column, y + 0.04), len(text), 0.92, color=shade))
            axis.text(column, y + 0.5, text, size=size, **style)
        top += 2 + max(line for line, *_ in layout)


def _shade(value: float, at_most: float) -> tuple[float, float, float]:
    """The scale's colour on white."""
    share = colours.opacity(value, at_most=at_most)
    red, green, blue = (1 - share + share * part / 255 for part in colours.rgb(value))
    return red, green, blue


def _colour_bar(figure: "Figure", where: tuple[float, float, float, float], at_most: float) -> None:
    axis = figure.add_axes(where)
    values = np.linspace(-at_most, at_most, 201)
    strip = np.array([[_shade(value, at_most)] for value in values])
    axis.imshow(strip, aspect="auto", origin="lower", extent=(0, 1, -at_most, at_most))
    axis.set_xticks([])
    axis.yaxis.tick_right()
    axis.set_title("$D_t$ (nats)", fontsize="small")
    axis.tick_params(labelsize="small")


def by_position(values: Sequence[Sequence[float]], *, bins: int = BINS) -> list[list[float]]:
    """Each tenth of the rollouts: the mean over its tokens, for each rollout that has some.

    Token t of T lies at (t + 1/2) / T.
    """
    found: list[list[float]] = [[] for _ in range(bins)]
    for row in values:
        places = ((np.arange(len(row)) + 0.5) / len(row) * bins).astype(int)
        for part in np.unique(places):
            found[int(part)].append(float(np.mean(np.asarray(row)[places == part])))
    return found


def _draw_curves(axis: Any, traces: Sequence[Trace], field: str, label: str) -> None:
    """Means by relative position with 95% t-intervals over rollouts."""
    for outcome, colour in (("correct", colours.CORRECT), ("wrong", colours.WRONG)):
        part = [t for t in traces if t.rollout.correct == (outcome == "correct")]
        parts = by_position([getattr(t, field) for t in part])
        filled = [number for number, values in enumerate(parts) if values]
        bands = [t_interval(parts[number]) for number in filled]
        x = (np.array(filled) + 0.5) / BINS
        mean = np.array([band.mean for band in bands])
        half = np.array([band.half_width for band in bands])
        axis.plot(x, mean, "o-", color=colour, markersize=4, label=f"{outcome} ({len(part)})")
        axis.fill_between(x, mean - half, mean + half, color=colour, alpha=0.2, lw=0)
    axis.axhline(0, color="grey", lw=0.8)
    axis.set(xlabel="relative position in the rollout", ylabel=label, xlim=(0, 1))
    axis.grid(alpha=0.3)
