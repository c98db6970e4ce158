"""An index of all metrics from A to Z, made from the tables of docs/metrics.md."""

import re
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
    """Markdown of every metric, from A to Z: definition, unit, range, and where it is recorded."""
    lines = []
    for metric in sorted(metrics(), key=lambda metric: (metric.name.lower(), metric.section)):
        anchor = metric.section.lower().replace(" ", "-")
        lines += [
            f"`{metric.name}`",
            f": {metric.definition}. Unit: {metric.unit}. Range: {metric.range}. "
            f"[{metric.section}](../metrics.md#{anchor})",
            "",
        ]
    return "\n".join(lines)
