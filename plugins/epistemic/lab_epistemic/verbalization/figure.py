"""Words of uncertainty, word by word, in one figure."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lab_epistemic.verbalization.breakdown import Breakdown

BAR = 0.8
"""Width of one word's bars together (of the distance between words)."""
PLACE = 0.6
"""Width of a word on the axis (inches)."""


def draw(found: Mapping[str, "Breakdown"]) -> "Figure":
    """Bars of each word's published count a response, a colour a set."""
    from matplotlib.figure import Figure

    words = list(next(iter(found.values())).published)
    figure = Figure(figsize=(max(4.5, 1 + PLACE * len(words)), 3.2), layout="constrained")
    axis = figure.subplots()
    width = BAR / len(found)
    for place, counts in enumerate(found.values()):
        heights = [counts.published[word] / counts.responses for word in words]
        offset = (place - (len(found) - 1) / 2) * width
        axis.bar([x + offset for x in range(len(words))], heights, width, color=f"C{place}")
    axis.set_xticks(range(len(words)), words, rotation=30, ha="right", parse_math=False)
    axis.tick_params(axis="x", length=0)
    axis.set_ylabel("epistemic_count per response")
    axis.grid(axis="y", alpha=0.3)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    labels = [_label(name, counts.responses) for name, counts in found.items()]
    for text in axis.legend(axis.containers, labels, frameon=False, fontsize=9).get_texts():
        text.set_parse_math(False)
    return figure


def _label(name: str, responses: int) -> str:
    return f"{name} ({responses:,} response{'' if responses == 1 else 's'})"
