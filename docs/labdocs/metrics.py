"""An index of all metrics from A to Z, made from the tables of docs/metrics.md."""

import re
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).parents[1] / "metrics.md"


class Metric(NamedTuple):
    section: str
    name: str
    definition: str
    unit: str
    range: str


def metrics() -> list[Metric]:
    """Every row of the tables of docs/metrics.md, in their order."""
    found, section = [], ""
    for line in SOURCE.read_text().splitlines():
        section = line[3:] if line.startswith("## ") else section
        if line.startswith("| `"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            found.append(Metric(section, cells[0].strip("`"), *cells[1:]))
    return found


def page(_: str = "") -> str:
    """Markdown of every metric, from A to Z: definitions, unit, range, and what records it."""
    rows = sorted(metrics(), key=lambda row: row.name.lower())
    lines = []
    for name, same in groupby(rows, key=lambda row: row.name):
        lines += [f"`{name}`", *map(_definition, same), ""]
    return "\n".join(lines)


def _definition(row: Metric) -> str:
    anchor = re.sub(r"[^\w -]", "", row.section.lower()).replace(" ", "-")
    unit = "" if row.unit == "-" else f" Unit: {row.unit}."
    home = f"*[{row.section}](../metrics.md#{anchor})*"
    return f": {home}: {row.definition}.\\\n  Range: {row.range}.{unit}"
