"""The evaluator `curves`: the run's own metrics over its steps, and whether it collapsed."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from labrun import Plan, Score, Setup

from lab_rlrt.analysis.config import CurvesConfig
from lab_rlrt.analysis.curves.smoothing import Curve, running_mean

if TYPE_CHECKING:
    from labrun.runs.context import RunContext


class CurvesEvaluator:
    """Draws reward, entropy, completion length and the scores of earlier evaluations at the run's
    end.

    Score: `collapse_step` of the task `training`, only where the run collapsed. File:
    `artifacts/curves.png`.
    """

    def __init__(self, config: CurvesConfig) -> None:
        self.config = config

    def plan(self, setup: Setup) -> Plan:
        del setup
        return Plan({"window": self.config.window})

    def evaluate(self, ctx: "RunContext", model: Any, data: Any) -> list[Score]:
        del model, data  # the run's events say it all
        max_steps = ctx.run.experiment().settings["trainer"]["max_steps"]
        if ctx.step < max_steps:
            return []
        series = ctx.run.series()
        if "reward" not in series:
            ctx.note("curves: the run has logged no reward; nothing is drawn")
            return []
        from lab_rlrt.analysis.curves.figure import draw

        step = self._collapse(series)
        evaluated = {
            f"{task}/{metric}": {at: score.value for at, score in values.items()}
            for (task, metric), values in ctx.run.scores().items()
        }
        ctx.figure("curves", draw(series, evaluated, collapse=step, title=ctx.run_id))
        if step is None:
            return []
        ctx.note(f"curves: training collapsed at step {step} (rule: docs/metrics.md)")
        return [Score("training", "collapse_step", float(step), 1)]

    def _collapse(self, series: Mapping[str, Curve]) -> int | None:
        names = ("reward", "entropy", "completion_length")
        if any(name not in series for name in names):
            return None
        steps = sorted(set.intersection(*(set(series[name]) for name in names)))
        reward, entropy, length = ([series[name][step] for step in steps] for name in names)
        found = collapse_step(
            reward,
            entropy,
            length,
            window=self.config.window,
            drop=self.config.drop,
            growth=self.config.growth,
        )
        return None if found is None else steps[found]


def collapse_step(
    reward: Sequence[float],
    entropy: Sequence[float],
    length: Sequence[float],
    *,
    window: int,
    drop: float,
    growth: float,
) -> int | None:
    """The index at which training collapsed for good, or None.

    Of running means over the last `window` values: the first index from which the reward stays,
    to the end, at or below (1 - drop) times the best before it, while there entropy or length is
    at least `growth` times what it was at that best. A reward that falls with neither growing is
    no such collapse, nor is one that recovers. The rule is ours; the paper (arXiv 2605.10781)
    tells of RLRT-all that length and entropy grow without bound and training collapses.
    """
    if len(reward) <= window:
        return None
    mean = running_mean(reward, window)
    best = int(np.argmax(mean))
    if mean[best] <= 0:
        return None  # nothing was ever right: nothing collapsed
    above = np.flatnonzero(mean > (1 - drop) * mean[best])
    start = int(above[-1]) + 1
    if start >= len(mean):
        return None
    grown = [
        values[start:].max() >= growth * values[best]
        for values in (running_mean(entropy, window), running_mean(length, window))
    ]
    return start + window - 1 if any(grown) else None
