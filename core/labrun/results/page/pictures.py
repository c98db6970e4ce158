"""Pictures of a report: drawn here as SVG, or read from PNG files, each within a bound."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

from markupsafe import Markup

from labrun.results.figures import style
from labrun.results.page.vector import inline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SVG_BYTES = 200_000
"""A larger drawing is a PNG."""
MOST_PNG_BYTES = 2_000_000
SIGNATURE = b"\x89PNG\r\n\x1a\n"
DPI = 200


@dataclass(frozen=True)
class Picture:
    """One picture: an inline drawing, or a PNG as base64."""

    title: str
    svg: Markup | None = None
    png: str = ""
    is_wide: bool = False


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
    with style.in_style(), rc_context({"svg.fonttype": "none", "svg.hashsalt": "labrun"}):
        colour = "none" if kind == "svg" else "white"
        figure.savefig(out, format=kind, dpi=DPI, facecolor=colour, metadata=undated)
    return out.getvalue()


def read(path: Path, *, title: str, is_wide: bool = True) -> Picture | None:
    """The PNG in this file; None where it is none, or too large."""
    try:
        if path.stat().st_size > MOST_PNG_BYTES:
            return None
        content = path.read_bytes()
    except OSError:
        return None
    if not content.startswith(SIGNATURE):
        return None
    return Picture(title, None, base64.b64encode(content).decode(), is_wide)
