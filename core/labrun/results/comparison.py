"""What one comparison is made of: arms, table, tests, and the runs that are in none of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from labrun.errors import LabError, shown, unknown
from labrun.results import compare, paired
from labrun.results.arms import Arm
from labrun.results.cells import AUTO
from labrun.results.compare import Table
from labrun.results.differing import method_of, settings_of, unlabelled
from labrun.results.means import said_of_unlike
from labrun.results.over_tasks import Aggregate, Grid, aggregates, grids_of
from labrun.results.paired import Difference
from labrun.results.sheet import Sheet, sheet_of
from labrun.runs.record import RunRecord, records
from labrun.runs.run_dir import RunDir
from labrun.system.json_files import read_object

MOST_ARMS = 4
"""Arms that are named for one value of a setting."""


@dataclass(frozen=True)
class Comparison:
    """The arms with their table, and `against`, their differences to the baseline."""

    arms: Sequence[Arm]
    table: Table
    baseline: str | None
    against: Sequence[Difference]
    damaged: Mapping[str, str]
    """Run id -> what is damaged."""
    not_done: Mapping[str, str]
    """Run id -> its arm and state."""
    repeated: Mapping[str, str]
    """Run id -> the newer run of equal settings and seed that counts in its place."""
    num_runs: int
    lower: Sequence[str] = ()
    grids: Sequence[Grid] = ()
    """The scores that several tasks have in common, a grid a metric."""

    @property
    def runs(self) -> list[RunRecord]:
        return [run for arm in self.arms for run in arm.runs]

    @property
    def sheet(self) -> Sheet:
        return sheet_of(
            self.table,
            self.against,
            baseline=self.baseline,
            lower=self.lower,
            over_tasks=self.over_tasks,
        )

    @property
    def rates(self) -> list[Grid]:
        """The grids of rates, of which a performance profile can be drawn."""
        return [grid for grid in self.grids if grid.is_rate]

    @cached_property
    def over_tasks(self) -> list[Aggregate]:
        """Each arm on all tasks of a metric at once; empty where there is one task."""
        return [one for grid in self.grids for one in aggregates(grid, self.baseline)]

    @property
    def left_out(self) -> dict[str, str]:
        """Run id -> why it is in no arm."""
        again = {name: f"repeated by the newer run {by}" for name, by in self.repeated.items()}
        damaged = {name: f"damaged: {fault}" for name, fault in self.damaged.items()}
        return damaged | dict(self.not_done) | again


def comparison_of(
    runs: Sequence[RunDir],
    *,
    baseline: str | None = None,
    interval: str = AUTO,
    scores: Sequence[str] = (),
    lower: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
    has_start: bool = True,
) -> Comparison:
    """The comparison of these runs. `scores` are the rows to keep; all where it is empty. `labels`:
    run id -> what its arm is called, in the order of the arms; else what sets the arms apart.
    The baseline stands first. Without `has_start` the table has no scores before training.

    Raises LabError where no run is done, an arm holds a seed twice within a group, or the baseline
    or a score is not there.
    """
    taken = records(runs)
    every = _labelled(compare.arms(taken), labels or {})
    arms, repeated = zip(*(_newest(arm) for arm in every), strict=True)
    if baseline is not None:
        baseline = paired.baseline_of(arms, baseline)
        arms = sorted(arms, key=lambda arm: arm.label != baseline)
    table = compare.table(arms, interval=interval)
    _check_rows([*scores, *lower], table)
    against = paired.differences(arms, baseline) if baseline is not None else []
    shown_table = table.only(scores)
    if not has_start:
        shown_table = shown_table.of_arms([arm.label for arm in arms])
    done = {run.id for arm in every for run in arm.runs}
    _, damaged = compare.whole_runs(run for run in taken if run.id not in done)
    left = [run for run in taken if run.id not in done and run.id not in damaged]
    return Comparison(
        arms=arms,
        table=shown_table,
        baseline=baseline,
        against=[d for d in against if (d.task, d.metric) in shown_table.rows],
        damaged=damaged,
        not_done=_not_done(left, arms),
        repeated={old: new for one in repeated for old, new in one.items()},
        num_runs=len(taken),
        lower=lower,
        grids=grids_of(arms, shown_table.rows, lower=lower),
    )


def _labelled(arms: Sequence[Arm], labels: Mapping[str, str]) -> list[Arm]:
    """The arms under these labels, those that have none last; one arm a label."""
    runs: dict[str, tuple[RunRecord, ...]] = dict.fromkeys(labels.values(), ())
    for arm in arms:
        label = labels.get(arm.runs[0].id, arm.label)
        runs[label] = (*runs.get(label, ()), *arm.runs)
    return [Arm(label, held) for label, held in runs.items() if held]


def _newest(arm: Arm) -> tuple[Arm, dict[str, str]]:
    """The arm with the newest run of each seed; older id -> newer, where their groups differ."""
    newest: dict[int, RunRecord] = {}
    repeated: dict[str, str] = {}
    for run in arm.runs:
        seed = run.experiment().run.seed
        other = newest.setdefault(seed, run)
        if other is run or other.experiment().run.group == run.experiment().run.group:
            continue
        old, newest[seed] = sorted((other, run), key=lambda one: (one.created(), one.id))
        repeated[old.id] = newest[seed].id
    kept = tuple(run for run in arm.runs if run.id not in repeated)
    return replace(arm, runs=kept), repeated


def _check_rows(names: Sequence[str], table: Table) -> None:
    known = [name for task, metric in table.rows for name in (metric, f"{task}/{metric}")]
    for name in names:
        if name not in known:
            raise unknown("score", name, dict.fromkeys(known))


def _not_done(runs: Sequence[RunDir], arms: Sequence[Arm]) -> dict[str, str]:
    """Run id -> `plain: failed at step 3`."""
    labels = {_text(arm.runs[0]): arm.label for arm in arms}
    return {run.id: f"{_label(run, labels)}: {_state(run)}" for run in runs}


def _label(run: RunDir, labels: Mapping[str, str]) -> str:
    try:
        return labels.get(_text(run)) or str(method_of(settings_of(run)))
    except LabError:
        return "unreadable"


def _text(run: RunDir) -> str:
    return json.dumps(settings_of(run), sort_keys=True)


def _state(run: RunDir) -> str:
    status = run.status()
    return f"{status.state} at step {status.step}" if status.step else status.state


def beside_the_labels(arms: Sequence[Arm]) -> dict[str, dict[str, list[str]]]:
    """Key -> value -> labels, of what differs between the arms and is not in their labels.

    Seeds, data and code count beside the settings.
    """
    return unlabelled({arm.label: settings_of(arm.runs[0]) | _facts(arm) for arm in arms})


def mixed(arms: Sequence[Arm]) -> list[str]:
    """A sentence for each arm whose runs come from several versions of the code, or of the data,
    and for each mean that is left out."""
    said = said_of_unlike(arms)
    for arm in arms:
        for what, value in (("code", code_of), ("data", RunRecord.data_fingerprint)):
            by_value: dict[str, list[str]] = {}
            for run in arm.runs:
                by_value.setdefault(value(run) or "unknown", []).append(run.id)
            if len(by_value) > 1:
                parts = (f"{name[:12]} ({some(ids)})" for name, ids in by_value.items())
                said.append(f"{arm.label} is of several versions of the {what}: {', '.join(parts)}")
    return said


def code_of(run: RunDir) -> str | None:
    """The commits of labrun's and the plugin's repositories, `+` after one that was changed."""
    try:
        repositories = read_object(run.path / "provenance.json")["repositories"]
        commits = [str(one["commit"])[:7] + "+" * bool(one["changed"]) for one in repositories]
    except (OSError, LabError, KeyError, TypeError):
        return None
    return " ".join(sorted(set(commits))) or None


def _facts(arm: Arm) -> dict[str, object]:
    seeds = sorted(run.experiment().run.seed for run in arm.runs)
    known = arm.runs[0].data_fingerprint()
    data = {"data fingerprint": known[:12]} if known else {}
    codes = sorted({code for run in arm.runs if (code := code_of(run))})
    code = {"code": ", ".join(codes)} if codes else {}
    return {"seeds": ",".join(map(str, seeds)), **data, **code}


def some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    first = ", ".join(shown(name) for name in names[:MOST_ARMS])
    more = len(names) - MOST_ARMS
    return f"{first} and {more} more" if more > 0 else first
