"""Arms against a baseline, paired by seed."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from labrun.errors import LabError, unknown
from labrun.results.compare import Arm
from labrun.results.statistics.intervals import Interval, t_interval
from labrun.results.statistics.significance import holm, paired_p


@dataclass(frozen=True)
class Difference:
    """An arm less the baseline on one score: mean over common seeds, with its 95% t-interval.

    `p` is the two-sided paired t-test's; `p_holm` is corrected over all arms and tasks of the same
    metric. Both are nan where all differences are the same number other than 0: without spread
    there is no t-test.
    """

    arm: str
    task: str
    metric: str
    difference: Interval
    p: float
    p_holm: float


def differences(compared: Sequence[Arm], baseline: str) -> list[Difference]:
    """Every other arm against `baseline` (see `baseline_of`), on every last score that both have.

    Raises LabError for an unknown label, and where no arm has two seeds in common with it.
    """
    labels = [arm.label for arm in compared]
    baseline = baseline_of(compared, baseline)
    last = {arm.label: _last_scores(arm) for arm in compared}
    pairs = {}
    for label in labels:
        for key, mine in last[label].items() if label != baseline else ():
            theirs = last[baseline].get(key, {})
            seeds = sorted(set(mine) & set(theirs))
            if len(seeds) > 1:
                pairs[label, *key] = np.array([mine[seed] - theirs[seed] for seed in seeds])
    if not pairs:
        raise LabError(f"no arm has two seeds in common with the baseline {baseline!r}")
    ps = {key: paired_p(values) for key, values in pairs.items()}
    corrected: dict[tuple[str, str, str], float] = {}
    for metric in dict.fromkeys(metric for _, _, metric in pairs):
        family = [key for key in pairs if key[2] == metric]
        corrected |= dict(zip(family, holm([ps[key] for key in family]), strict=True))
    return [
        Difference(arm, task, metric, t_interval(values.tolist()), ps[key], corrected[key])
        for key, values in pairs.items()
        for arm, task, metric in [key]
    ]


def baseline_of(compared: Sequence[Arm], name: str) -> str:
    """The label that `name` means: itself, or the only one that begins with it and a space."""
    labels = [arm.label for arm in compared]
    begun = [label for label in labels if label.startswith(f"{name} ")]
    if name not in labels and len(begun) != 1:
        raise unknown("baseline", name, labels)
    return name if name in labels else begun[0]


def to_csv(found: Sequence[Difference], baseline: str) -> str:
    """One line a difference; a p that is nan leaves its cell empty."""
    out = io.StringIO()
    writer = csv.writer(out)
    header = ["task", "metric", "arm", "baseline", "difference", "t95_half_width", "num_seeds"]
    writer.writerow([*header, "p", "p_holm"])
    for d in found:
        cell = [d.difference.mean, d.difference.half_width, d.difference.n]
        ps = ["" if math.isnan(p) else p for p in (d.p, d.p_holm)]
        writer.writerow([d.task, d.metric, d.arm, baseline, *cell, *ps])
    return out.getvalue()


def _last_scores(arm: Arm) -> dict[tuple[str, str], dict[int, float]]:
    """(task, metric) -> seed -> the score at its last step."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    for run in arm.runs:
        for key, steps in run.scores().items():
            found.setdefault(key, {})[run.experiment().run.seed] = steps[max(steps)].value
    return found
