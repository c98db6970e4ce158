"""What training has cost by a step: steps, samples, seconds, or the sum of a logged series."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from labrun.errors import LabError, unknown
from labrun.plugins import discovery
from labrun.plugins.building import config_class
from labrun.runs.record import RunRecord

STEPS, SAMPLES, SECONDS = "steps", "samples", "seconds"
COSTS = (STEPS, SAMPLES, SECONDS)


def label_of(cost: str) -> str:
    """The name of an axis."""
    names = {STEPS: "optimizer step", SAMPLES: "training samples", SECONDS: "seconds of the run"}
    return names.get(cost, f"sum of {cost}")


def check(cost: str, runs: Iterable[RunRecord]) -> None:
    """Raise LabError for a cost that one of the runs does not know."""
    for run in runs:
        if cost == SAMPLES:
            samples_a_step(run)
        elif cost not in COSTS and cost not in run.series():
            raise unknown("cost", cost, [*COSTS, *run.series()], of=f"run {run.id}")


def cost_at(run: RunRecord, cost: str, steps: Sequence[int]) -> np.ndarray:
    """The cost up to each of these steps, (steps,)."""
    if cost == STEPS:
        return np.array(steps, float)
    if cost == SAMPLES:
        return samples_a_step(run) * np.array(steps, float)
    if cost == SECONDS:
        return _upto(run.seconds(), steps)
    series = run.series()[cost]
    sums = np.cumsum([series[step] for step in sorted(series)])
    return _upto(dict(zip(sorted(series), sums.tolist(), strict=True)), steps)


def _upto(by_step: dict[int, float], steps: Sequence[int]) -> np.ndarray:
    """The value at the last known step up to each of `steps`; 0 before the first."""
    known = sorted(by_step)
    values = np.array([0.0, *(by_step[step] for step in known)])
    return values[np.searchsorted(known, steps, side="right")]


def samples_a_step(run: RunRecord) -> int:
    """Rollouts or episodes of an optimizer step: the product of the settings that the trainer's
    config names in `SAMPLES`.

    Raises LabError where it names none.
    """
    experiment = run.experiment()
    name = experiment.components["trainer"]
    owner = name.partition(".")[0]
    _, component = discovery.find("trainer", name, discovery.load(owner))
    keys = getattr(config_class(owner, component), "SAMPLES", ())
    if not keys:
        raise LabError(
            f"the config of trainer {name} does not say how many samples a step takes (SAMPLES); "
            f"choose {STEPS}, {SECONDS} or a logged series"
        )
    return math.prod(int(experiment.settings["trainer"][key]) for key in keys)
