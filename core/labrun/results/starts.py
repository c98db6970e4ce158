"""The scores before training, and which arms have them in common."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labrun.results.arms import Arm
from labrun.results.differing import Settings, settings_of, start_names, tells_start
from labrun.score import Score

Scores = Mapping[tuple[str, str], Mapping[int, Score]]
START = "start"


@dataclass(frozen=True)
class _Start:
    """How an arm began: its settings, its data, and (seed, task, metric) -> the first score."""

    arm: Arm
    settings: Settings
    data: str | None
    scores: Mapping[tuple[int, str, str], float]

    def alike(self, other: "_Start") -> bool:
        """Whether data and network are the same by their settings, or by the scores they gave."""
        keys = [key for key in {**self.settings, **other.settings} if tells_start(key)]
        same_data = self.data is None or other.data is None or self.data == other.data
        if same_data and all(self.settings.get(k) == other.settings.get(k) for k in keys):
            return True
        common = self.scores.keys() & other.scores.keys()
        same_rows = {key[1:] for key in self.scores} == {key[1:] for key in other.scores}
        return bool(common) and same_rows and all(self._close(other, key) for key in common)

    def _close(self, other: "_Start", key: tuple[int, str, str]) -> bool:
        return math.isclose(self.scores[key], other.scores[key], rel_tol=1e-9, abs_tol=1e-12)


def starting_alike(
    compared: Sequence[Arm], scores: Mapping[str, Scores], seeds: Mapping[str, int]
) -> dict[str, list[Arm]]:
    """Column of scores before training -> the arms of which it is the mean.

    One column `start` where all begin with the same network and are scored on the same data, else
    one for each network and data set. Arms that were not scored before training are in none.
    """
    groups: list[list[_Start]] = []
    for start in filter(lambda one: one.scores, (_start(arm, scores, seeds) for arm in compared)):
        group = next((group for group in groups if group[0].alike(start)), None)
        if group is None:
            groups.append([start])
        else:
            group.append(start)
    arms = [[start.arm for start in group] for group in groups]
    if len(groups) < 2:
        return dict(zip([START], arms, strict=False))
    settings = [[start.settings for start in group] for group in groups]
    names = start_names(settings, [[arm.label for arm in group] for group in arms])
    return {f"{START} {name}": group for name, group in zip(names, arms, strict=True)}


def _start(arm: Arm, scores: Mapping[str, Scores], seeds: Mapping[str, int]) -> _Start:
    firsts = {
        (seeds[run.id], *key): first.value
        for run in arm.runs
        for key, steps in scores[run.id].items()
        if (first := _first(steps)) is not None
    }
    return _Start(arm, settings_of(arm.runs[0]), arm.runs[0].data_fingerprint(), firsts)


def start_scores(
    compared: Sequence[Arm], steps: Mapping[str, Mapping[int, Score]], seeds: Mapping[str, int]
) -> list[list[Score]]:
    """The first scores, by seed: runs of equal seed start alike, which must not narrow it."""
    by_seed: dict[int, list[Score]] = {}
    for run in (run for arm in compared for run in arm.runs):
        first = _first(steps[run.id])
        if first is not None:
            by_seed.setdefault(seeds[run.id], []).append(first)
    return list(by_seed.values())


def _first(steps: Mapping[int, Score]) -> Score | None:
    """The score before training; None without a later one."""
    return steps[0] if 0 in steps and len(steps) > 1 else None
