"""The scores in the JSON of marl-eval (arXiv 2209.10485)."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from labrun.errors import LabError
from labrun.results.arms import Arm
from labrun.runs.record import RunRecord
from labrun.score import Score

Tree = dict[str, Any]


def to_marl_eval(compared: Sequence[Arm]) -> tuple[str, list[str]]:
    """environment -> task -> algorithm -> seed -> step_1, ..., absolute_metrics; and what marl-eval
    will refuse in it.

    A step holds the items of each score, or its value where it has none. Environment, task and
    metric are in small letters, as marl-eval asks for them. Two differences: 1. `absolute_metrics`
    are those of the last step, no longer evaluation of the best one. 2. The environment is the
    run's preset `dataset`, else the dataset's component.

    Raises LabError for a score that is not finite.
    """
    tree: Tree = {}
    for arm in compared:
        for run in arm.runs:
            _add(tree, arm.label, run)
    return json.dumps(tree, indent=1, allow_nan=False) + "\n", list(_faults(tree))


def _add(tree: Tree, label: str, run: RunRecord) -> None:
    experiment = run.experiment()
    environment = experiment.choices.get("dataset", experiment.components.get("dataset", "none"))
    by_task: dict[str, dict[int, dict[str, Score]]] = {}
    for (task, metric), steps in run.scores().items():
        for step, score in steps.items():
            by_task.setdefault(task, {}).setdefault(step, {})[metric] = score
    for task, steps in by_task.items():
        ordered = sorted(steps)
        entry: Tree = {
            f"step_{number}": {"step_count": step, **_values(run, steps[step])}
            for number, step in enumerate(ordered, start=1)
        }
        entry["absolute_metrics"] = _values(run, steps[ordered[-1]])
        place = tree.setdefault(environment.lower(), {}).setdefault(task.lower(), {})
        place.setdefault(label, {})[f"seed_{experiment.run.seed}"] = entry


def _values(run: RunRecord, scores: Mapping[str, Score]) -> dict[str, list[float]]:
    found = {metric.lower(): list(s.items) or [s.value] for metric, s in scores.items()}
    for metric, values in found.items():
        if not all(map(math.isfinite, values)):
            raise LabError(
                f"{metric} of run {run.id} is not finite, which marl-eval cannot read; name the "
                "other runs"
            )
    return found


def _faults(tree: Tree):
    """marl-eval's arrays need equally many of everything."""
    for environment, tasks in tree.items():
        counts = {
            "algorithms": {task: len(arms) for task, arms in tasks.items()},
            "runs": {
                f"{task}/{arm}": len(runs)
                for task, arms in tasks.items()
                for arm, runs in arms.items()
            },
            "steps": {
                f"{task}/{arm}/{run}": len(steps) - 1
                for task, arms in tasks.items()
                for arm, runs in arms.items()
                for run, steps in runs.items()
            },
        }
        for what, by_place in counts.items():
            if len(set(by_place.values())) > 1:
                least, most = (f(by_place, key=by_place.__getitem__) for f in (min, max))
                yield (
                    f"marl-eval wants equally many {what} in {environment}: {least} has "
                    f"{by_place[least]}, {most} has {by_place[most]}"
                )
