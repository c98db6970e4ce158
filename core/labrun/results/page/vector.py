"""Figures as SVG inside a page: without addresses, in the page's colours, light and dark."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from labrun.results.figures import style

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

PLACES = ("style", "fill", "stroke")
REFERENCES = ("href", "clip-path", "fill", "stroke", "style")
GREYS: Mapping[str, str] = {
    "#ffffff": "none",
    "#000000": "currentColor",
    "#b0b0b0": "var(--line)",
    "#595959": "var(--soft)",
    "#808080": "var(--soft)",
}
"""What matplotlib draws in black, grey and white -> the page's ink and lines."""
COLOURS: Mapping[str, str] = {
    colour.lower(): f"var(--arm-{index})"
    for index, colour in enumerate(style.COLOURS)
    if colour != "#000000"
}
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}\b")
_FONT = re.compile(r"(font(?:-family)?:[^;]*?)'[^;]*")
_ADDRESS = re.compile(r"url\(#([^)]*)\)")


def inline(svg: str, *, name: str, says: str) -> str:
    """The picture that matplotlib wrote, as an element of a page; its ids begin with `name`.

    `says` is read aloud in its place. Raises ParseError for a text that XML cannot hold.
    """
    root = ElementTree.fromstring(svg)
    _strip(root)
    used = _used(root)
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {
            key: _value(key, value, name)
            for key, value in ((_local(k), v) for k, v in element.items())
            if key != "id" or value in used
        }
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib |= {"class": "figure", "role": "img", "aria-label": says}
    return ElementTree.tostring(root, encoding="unicode")


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _strip(root: "Element") -> None:
    """Take out metadata, which hold addresses, and a style sheet that would hold for the page."""
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style", "script"):
                parent.remove(child)


def _used(root: "Element") -> set[str]:
    """The ids that something in the picture refers to."""
    found: set[str] = set()
    for element in root.iter():
        for key, value in element.items():
            if _local(key) == "href":
                found.add(value.removeprefix("#"))
            elif _local(key) in REFERENCES:
                found |= set(_ADDRESS.findall(value))
    return found


def _value(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return f"#{name}-{value.removeprefix('#')}"
    if key in REFERENCES:
        value = _ADDRESS.sub(rf"url(#{name}-\1)", value)
    return _FONT.sub(r"\1var(--sans)", _coloured(value)) if key in PLACES else value


def _coloured(value: str) -> str:
    return _COLOUR.sub(lambda found: _variable(found[0].lower()), value)


def _variable(colour: str) -> str:
    return GREYS.get(colour) or COLOURS.get(colour, colour)
