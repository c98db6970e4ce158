"""Arms against a baseline, paired by seed."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from labrun.errors import LabError, unknown
from labrun.results.compare import Arm
from labrun.results.intervals import Interval, t_interval

ROUNDING = 1e-9
"""Differences that spread by less, in the largest of them, are equal but for rounding."""


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


def paired_p(values: np.ndarray) -> float:
    """Two-sided p of Student's t-test that the mean of paired differences is 0.

    1 if all are 0; nan if all are equal to another number, which have no spread to test against.
    """
    if not values.any():
        return 1.0
    if np.ptp(values) <= ROUNDING * np.abs(values).max():
        return math.nan
    from scipy import special

    t = values.mean() / (values.std(ddof=1) / math.sqrt(len(values)))
    return float(2 * special.stdtr(len(values) - 1, -abs(t)))


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the i-th smallest of m times m - i + 1, never falling, <= 1.

    A p that is nan stays so and is none of the m.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    tested = [index for index, p in enumerate(ps) if not math.isnan(p)]
    corrected, least = [math.nan] * len(ps), 0.0
    for rank, index in enumerate(sorted(tested, key=ps.__getitem__)):
        least = max(least, min(1.0, (len(tested) - rank) * ps[index]))
        corrected[index] = least
    return corrected


def smallest_permutation_p(num_seeds: int) -> float:
    """The least p that flipping the signs of so many paired differences could give: 2 / 2^n."""
    return 2.0 / 2**num_seeds


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
