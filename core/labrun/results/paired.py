"""Arms against a baseline, paired by seed; by problem where they have one seed in common."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from labrun.errors import LabError, unknown
from labrun.results.arms import Arm
from labrun.results.means import unlike_means
from labrun.results.statistics.intervals import Interval, t_interval
from labrun.results.statistics.significance import holm, paired_p, sign_flip_p
from labrun.score import Score

HEADER = (
    *("task", "metric", "arm", "baseline", "difference", "t95_half_width", "num_seeds"),
    *("p", "p_holm", "p_sign_flip", "p_sign_flip_holm", "paired_by", "num_pairs"),
)


@dataclass(frozen=True)
class Difference:
    """An arm less the baseline on one score: mean over the pairs, with its 95% t-interval.

    `p` is the two-sided paired t-test's; `p_holm` is corrected over all arms and tasks of the same
    metric. Both are nan where all differences are the same number other than 0: without spread
    there is no t-test. `p_flip` and `p_flip_holm` are those of the sign-flip test.
    """

    arm: str
    task: str
    metric: str
    difference: Interval
    p: float
    p_holm: float
    p_flip: float
    p_flip_holm: float
    by: str
    """What is paired: seeds, or the problems of the one seed that both have."""
    num_seeds: int


Key = tuple[str, str, str]
"""Arm, task, metric."""


@dataclass(frozen=True)
class _Pairs:
    values: np.ndarray
    by: str
    num_seeds: int


def differences(compared: Sequence[Arm], baseline: str) -> list[Difference]:
    """Every other arm against `baseline` (see `baseline_of`), on every last score that both have.

    Raises LabError for an unknown label, and where no arm can be paired with it.
    """
    baseline = baseline_of(compared, baseline)
    last = {arm.label: _last_scores(arm) for arm in compared}
    unlike = unlike_means(compared)
    pairs: dict[Key, _Pairs] = {}
    for label in (arm.label for arm in compared if arm.label != baseline):
        for key, mine in last[label].items():
            if key[0] in unlike:
                continue
            found = _paired(mine, last[baseline].get(key, {}))
            if found is not None:
                pairs[label, *key] = found
    if not pairs:
        raise LabError(
            f"no arm has a seed in common with the baseline {baseline!r} on a score of both; run "
            "the seeds of one with the other"
        )
    return _tested(pairs)


def _paired(mine: Mapping[int, Score], theirs: Mapping[int, Score]) -> _Pairs | None:
    seeds = sorted(set(mine) & set(theirs))
    if len(seeds) > 1:
        values = np.array([mine[seed].value - theirs[seed].value for seed in seeds])
        return _Pairs(values, "seeds", len(seeds))
    for seed in seeds:
        ours, others = mine[seed].items, theirs[seed].items
        if len(ours) == len(others) > 1 and not mine[seed].over:  # tasks are chosen, not drawn
            return _Pairs(np.subtract(ours, others), "problems", 1)
    return None


def _tested(pairs: Mapping[Key, _Pairs]) -> list[Difference]:
    students = {key: paired_p(found.values) for key, found in pairs.items()}
    flips = {key: sign_flip_p(found.values) for key, found in pairs.items()}
    student_holm, flip_holm = _corrected(students), _corrected(flips)
    return [
        Difference(
            *key,
            t_interval(found.values.tolist()),
            students[key],
            student_holm[key],
            flips[key],
            flip_holm[key],
            found.by,
            found.num_seeds,
        )
        for key, found in pairs.items()
    ]


def _corrected(ps: Mapping[Key, float]) -> dict[Key, float]:
    """Holm's correction over the arms and tasks of each metric."""
    corrected: dict[Key, float] = {}
    for metric in dict.fromkeys(metric for _, _, metric in ps):
        family = [key for key in ps if key[2] == metric]
        corrected |= dict(zip(family, holm([ps[key] for key in family]), strict=True))
    return corrected


def baseline_of(compared: Sequence[Arm], name: str) -> str:
    """The label that `name` means: itself, or else the only one of this method.

    Such a label begins with the name and a space, or is `PLUGIN/name`.
    """
    labels = [arm.label for arm in compared]
    if name in labels:
        return name
    meant = [label for label in labels if _is_of(label, name)]
    if len(meant) != 1:
        raise unknown("baseline", name, labels)
    return meant[0]


def _is_of(label: str, name: str) -> bool:
    method = label.split(" ")[0]
    return name in (method, method.rpartition("/")[2])


def untested(compared: Sequence[Arm], baseline: str, found: Sequence[Difference]) -> list[str]:
    """The arms that share no seed with the baseline, so that nothing of them was tested."""
    tested = {baseline, *(difference.arm for difference in found)}
    return [arm.label for arm in compared if arm.label not in tested]


def to_csv(found: Sequence[Difference], baseline: str) -> str:
    """One line a difference; a p that is nan leaves its cell empty."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(HEADER)
    for d in found:
        cell = [d.difference.mean, d.difference.half_width, d.num_seeds]
        ps = ["" if math.isnan(p) else p for p in (d.p, d.p_holm, d.p_flip, d.p_flip_holm)]
        end = [d.by, d.difference.n]
        writer.writerow([d.task, d.metric, d.arm, baseline, *cell, *ps, *end])
    return out.getvalue()


def _last_scores(arm: Arm) -> dict[tuple[str, str], dict[int, Score]]:
    """(task, metric) -> seed -> the score at its last step."""
    found: dict[tuple[str, str], dict[int, Score]] = {}
    for run in arm.runs:
        for key, steps in run.scores().items():
            found.setdefault(key, {})[run.experiment().run.seed] = steps[max(steps)]
    return found
