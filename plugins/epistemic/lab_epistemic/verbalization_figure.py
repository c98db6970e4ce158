"""Words of uncertainty, word by word, in one figure."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BAR = 0.8
"""Width of one word's bars together (of the distance between words)."""


def draw(found: Mapping[str, Mapping[str, Any]]) -> "Figure":
    """Bars of each word's published count a response, a colour a set (see `breakdown`)."""
    from matplotlib.figure import Figure

    words = list(next(iter(found.values()))["published"])
    figure = Figure(figsize=(max(6.0, 0.85 * len(words)), 3.4), layout="constrained")
    axis = figure.subplots()
    width = BAR / len(found)
    for place, (name, counts) in enumerate(found.items()):
        heights = [counts["published"][word] / counts["responses"] for word in words]
        offset = (place - (len(found) - 1) / 2) * width
        axis.bar([x + offset for x in range(len(words))], heights, width, label=name)
    axis.set_xticks(range(len(words)), words, rotation=30, ha="right", parse_math=False)
    axis.set(ylabel="occurrences a response", title="Epistemic words")
    axis.grid(axis="y", alpha=0.3)
    axis.legend(frameon=False)
    return figure
