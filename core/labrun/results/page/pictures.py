"""Pictures of a report: drawn here as SVG, or read from PNG files, each within a bound."""

import base64
import io
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

from markupsafe import Markup

from labrun.results.figures import style
from labrun.results.page.vector import inline
from labrun.system import regular_files

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SVG_BYTES = 200_000
"""A larger drawing is a PNG."""
MOST_PNG_BYTES = 2_000_000
SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = b"IEND\xaeB`\x82"
DPI = 200
WIDE = 1.7
"""Width by height from which on a picture has a row of its own."""


@dataclass(frozen=True)
class Picture:
    """One picture: an inline drawing, or a PNG as base64."""

    title: str
    svg: Markup | None = None
    png: str = ""
    is_wide: bool = False
    """Whether it has a row of its own."""


def drawn(figure: "Figure", *, title: str, name: str, is_wide: bool = False) -> Picture:
    """The figure as SVG; as PNG where that is large, or XML cannot hold its text."""
    try:
        svg = inline(_written(figure, "svg").decode(), name=name, says=title)
    except ParseError:
        svg = None
    if svg is None or len(svg) > MOST_SVG_BYTES:
        png = base64.b64encode(_written(figure, "png")).decode()
        return Picture(title, None, png, is_wide)
    return Picture(title, Markup(svg), "", is_wide)  # ElementTree has escaped every text


def _written(figure: "Figure", kind: str) -> bytes:
    from matplotlib import rc_context

    out = io.BytesIO()
    undated = {"Date": None} if kind == "svg" else {}
    settings = rc_context({"svg.fonttype": "none"})
    with warnings.catch_warnings(), style.in_style(), settings:
        # of letters that its font lacks, which the reader's browser has, and of long labels
        warnings.simplefilter("ignore", UserWarning)
        colour = "none" if kind == "svg" else "white"
        figure.savefig(out, format=kind, dpi=DPI, facecolor=colour, metadata=undated)
    return out.getvalue()


def read(path: Path, *, title: str) -> Picture | None:
    """The PNG in this file; None where it is none, cut off, or too large."""
    try:
        if path.stat().st_size > MOST_PNG_BYTES:
            return None
        content = regular_files.content(path)
    except OSError:
        return None
    if not (content.startswith(SIGNATURE) and content.endswith(END)):
        return None
    width, height = struct.unpack(">II", content[16:24])
    is_wide = width > WIDE * height
    return Picture(title, None, base64.b64encode(content).decode(), is_wide)
