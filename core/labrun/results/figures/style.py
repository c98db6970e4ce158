"""What all figures share: a paper's columns, colours, labels at the lines, files."""

import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labrun.errors import LabError, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTHS: Mapping[str, float] = {"column": 3.3, "page": 6.8}
"""Inches of one column of a paper, and of both."""
FORMATS = (".png", ".svg", ".pdf")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette for colour-blind readers, without its yellow."""
DASHES, MARKERS = ("-", "--", ":", "-."), ("o", "s", "^", "D")
"""Each in turn once the colours are used up."""
CHARACTERS_AN_INCH = 18
"""Of an explanation below the panels."""
STYLE: Mapping[str, Any] = {
    "pdf.fonttype": 42,  # TrueType: conferences refuse Type 3 fonts
    "ps.fonttype": 42,
    "svg.hashsalt": "labrun",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.3,
    "lines.markersize": 3,
    "savefig.dpi": 200,
}
HEIGHT = 2.2
"""Inches of a panel."""
MOST_DIRECT, WIDEST_DIRECT = 6, 18
"""Lines that are labelled at their end, and characters of such a label."""
LINE_PT = 8.5
"""Points from one line of a label to the next."""


def load() -> None:
    """Import what draws, without texts that nobody reads.

    While matplotlib is imported it writes a list of settings into the docstring of `set` of every
    class of artists, which takes a quarter of the time.
    """
    if "matplotlib.artist" in sys.modules:
        return
    from matplotlib import artist

    described, artist.kwdoc = artist.kwdoc, lambda _: ""  # pyrefly: ignore[bad-assignment]
    try:
        from matplotlib import figure  # noqa: F401
        from matplotlib.backends import backend_agg  # noqa: F401
    finally:
        artist.kwdoc = described


@contextmanager
def in_style() -> Iterator[None]:
    """Figures are made and written in STYLE; the user's own settings come back behind it."""
    from matplotlib import rc_context

    with rc_context({**STYLE}):
        yield


def check_path(path: Path) -> Path:
    """The path of a figure. Raises LabError for another format than those of FORMATS."""
    if path.suffix.lower() not in FORMATS:
        raise LabError(
            f"cannot draw {shown(str(path))!r}; a figure's name ends in {', '.join(FORMATS)}"
        )
    return path


def save(figure: "Figure", path: Path) -> Path:
    """Write the figure in the format of the path's ending; equal figures are equal files."""
    kind = path.suffix.lower()
    undated = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}[kind]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with in_style():
            figure.savefig(path, metadata=undated)
    except OSError as error:
        raise LabError(f"cannot write {path}: {error.strerror}; choose another place") from error
    return path


def panels(count: int, *, width: str) -> tuple["Figure", list["Axes"]]:
    """A figure as wide as `width` says, with one panel in a row of a column, two of a page."""
    from matplotlib.figure import Figure

    columns = min(count, 2 if width == "page" else 1)
    rows = -(-count // columns)
    figure = Figure(figsize=(WIDTHS[width], HEIGHT * rows + 0.3))
    figure.set_layout_engine("constrained", w_pad=0.08)
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axis in axes[count:]:
        axis.axis("off")
    return figure, axes[:count]


def look(index: int) -> dict[str, Any]:
    """Colour and dashes of the line with this number."""
    return {"color": colour(index), "linestyle": DASHES[index // len(COLOURS) % len(DASHES)]}


def colour(index: int) -> str:
    """The colour of the arm with this number."""
    return COLOURS[index % len(COLOURS)]


def marker(index: int) -> str:
    """The mark of its points."""
    return MARKERS[index // len(COLOURS) % len(MARKERS)]


def explain(figure: "Figure", text: str) -> None:
    """The sentence below the panels that says what lines, bands and bars are."""
    width = int(figure.get_figwidth() * CHARACTERS_AN_INCH)
    wrapped = "\n".join(textwrap.wrap(text, width))
    if figure.legends:
        figure.legends[0].set_title(wrapped)
        figure.legends[0].get_title().set(fontsize=6.5, color="0.35")
    else:
        figure.supxlabel(wrapped, fontsize=6.5, color="0.35")


def name_lines(
    figure: "Figure", axes: Sequence["Axes"], ends: Sequence[Mapping[str, float]]
) -> None:
    """Each line's label at its right end, `ends` being label -> height there, panel by panel.

    One legend below all panels where the labels are many or long.
    """
    labels = list(dict.fromkeys(label for panel in ends for label in panel))
    if not is_direct(labels):
        legend(figure, axes)
        return
    wrapped = {label: _wrapped(label) for label in labels}
    for axis, panel in zip(axes, ends, strict=True):
        _name_ends(axis, {wrapped[label]: y for label, y in panel.items()}, _colours(axis, wrapped))


def is_direct(labels: Sequence[str]) -> bool:
    """Whether the labels are few and short enough to stand beside what they name."""
    lines = [line for label in labels for line in _wrapped(label).split("\n")]
    return len(labels) <= MOST_DIRECT and max(map(len, lines), default=0) <= WIDEST_DIRECT


def _wrapped(label: str) -> str:
    lines = textwrap.wrap(label, WIDEST_DIRECT, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines) or label


def _colours(axis: "Axes", wrapped: Mapping[str, str]) -> dict[str, Any]:
    named = {str(line.get_label()): line.get_color() for line in axis.lines}
    return {text: named[label] for label, text in wrapped.items() if label in named}


def legend(figure: "Figure", axes: Sequence["Axes"]) -> None:
    """One legend of all panels, below them."""
    found = {}
    for axis in axes:
        handles, labels = axis.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    longest = max(map(len, found), default=1)
    fitting = max(1, int(figure.get_figwidth() * CHARACTERS_AN_INCH / (longest + 8)))
    rows = -(-len(found) // fitting)
    columns = -(-len(found) // rows)
    figure.set_figheight(figure.get_figheight() + rows * LINE_PT * 1.4 / 72)
    made = figure.legend(
        found.values(), found.keys(), loc="outside lower center", ncols=columns, frameon=False
    )
    for text in made.get_texts():
        text.set_parse_math(False)


def _name_ends(axis: "Axes", heights: Mapping[str, float], colours: Mapping[str, Any]) -> None:
    low, high = axis.get_ylim()
    wanted = {text: (y - low) / (high - low) for text, y in heights.items()}
    for text, place in apart(wanted, line=LINE_PT / (72 * HEIGHT * 0.75)).items():
        axis.annotate(
            text,
            (1, place),
            xytext=(4, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            va="center",
            fontsize=7,
            color=colours.get(text, "black"),
            annotation_clip=False,
            parse_math=False,
        )


def apart(wanted: Mapping[str, float], *, line: float) -> dict[str, float]:
    """Heights near the wanted ones, at which no label lies on another; `line` is a line's height.

    >>> apart({"a": 0.5, "b": 0.5, "c": 0.0}, line=0.1)
    {'c': 0.0, 'a': 0.45, 'b': 0.55}
    """
    blocks: list[tuple[list[str], float]] = []
    for text in sorted(wanted, key=wanted.__getitem__):
        blocks.append(([text], wanted[text]))
        while len(blocks) > 1 and _touch(blocks[-2], blocks[-1], line):
            (lower, low), (upper, up) = blocks[-2:]
            share = len(upper) / (len(lower) + len(upper))
            blocks[-2:] = [([*lower, *upper], low + share * (up - low))]
    places: dict[str, float] = {}
    for texts, centre in blocks:
        top = centre - _height(texts, line) / 2
        for text in texts:
            places[text] = round(top + _height([text], line) / 2, 9)
            top += _height([text], line)
    return places


def _touch(lower: tuple[list[str], float], upper: tuple[list[str], float], line: float) -> bool:
    needed = (_height(lower[0], line) + _height(upper[0], line)) / 2
    return upper[1] - lower[1] < needed


def _height(texts: Sequence[str], line: float) -> float:
    return sum((text.count("\n") + 1) * line for text in texts)
