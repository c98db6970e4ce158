"""Arms: the runs that are compared, by what sets them apart."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from labrun.errors import LabError
from labrun.results.differing import labels, settings_of, words_of
from labrun.runs import damage
from labrun.runs.record import RunRecord, records
from labrun.runs.run_dir import RunDir


@dataclass(frozen=True)
class Arm:
    """Runs that differ only in their seed, under the label that sets them apart from the others."""

    label: str
    runs: tuple[RunRecord, ...]


def arms(runs: Iterable[RunDir]) -> list[Arm]:
    """The done runs by their resolved settings, labelled by what sets them apart.

    A damaged run is in none. Seed, group, resources and launcher do not part runs, nor how a
    setting was worded.
    """
    done, damaged = whole_runs(runs)
    if not done and damaged:
        raise LabError(
            f"all of these runs that are done are damaged: {next(iter(damaged.values()))}"
        )
    if not done:
        raise LabError("none of these runs is done; `lab runs` shows their states")
    settings = {run.id: settings_of(run) for run in done}
    grouped: dict[str, list[RunRecord]] = {}
    for run in done:
        grouped.setdefault(json.dumps(settings[run.id], sort_keys=True), []).append(run)
    members = list(grouped.values())
    names = labels([settings[runs[0].id] for runs in members], words_of(done))
    return [Arm(label, tuple(runs)) for label, runs in sorted(zip(names, members, strict=True))]


def whole_runs(runs: Iterable[RunDir]) -> tuple[list[RunRecord], dict[str, str]]:
    """The sound done runs; and id -> what is damaged, for the others."""
    whole, damaged = [], {}
    for run in records(runs):
        state = run.status().state
        fault = damage.of_results(run) if state in ("done", *damage.DAMAGED) else None
        if fault is not None:
            damaged[run.id] = fault
        elif state == "done":
            whole.append(run)
    return whole, damaged


def check_seeds(compared: Sequence[Arm]) -> dict[str, int]:
    """The seed of each run, by its id.

    Raises LabError where an arm holds a seed twice: its interval would be too narrow.
    """
    seeds = {run.id: run.experiment().run.seed for arm in compared for run in arm.runs}
    for arm in compared:
        if len({seeds[run.id] for run in arm.runs}) < len(arm.runs):
            raise LabError(
                f"{arm.label!r} has runs of equal seed; name the runs or a group to compare"
            )
    return seeds
