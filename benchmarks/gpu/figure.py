"""Draws the pass rates of `side_by_side`: python -m gpu.figure RESULT.json FIGURE.png."""

import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

COLORS = {"grpo": "#0072B2", "rlrt": "#D55E00"}


def main(result: str, target: str) -> None:
    runs = json.loads(Path(result).read_text())["sections"]["side_by_side"]["rows"]
    figure = Figure(figsize=(6.8, 3.2), layout="tight")
    axes: Any = figure.subplots()
    for method, color in COLORS.items():
        curves = [run["curve"] for run in runs if run["run"].startswith(method)]
        for curve in curves:
            axes.plot(range(1, len(curve) + 1), curve, color=color, lw=0.8, alpha=0.5)
        middle = [mean(values) for values in zip(*curves, strict=False)]
        axes.plot(range(1, len(middle) + 1), middle, color=color, lw=2.2)
        axes.text(len(middle) + 0.2, middle[-1], method, color=color, va="center")
    axes.set(xlabel="optimizer step", ylabel="pass rate of rollouts", ylim=(0, 1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, dpi=150)


if __name__ == "__main__":
    main(*sys.argv[1:])
