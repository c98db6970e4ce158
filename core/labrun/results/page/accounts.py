"""Every run of a report by name: its arm, how it ended, when and where; none is left out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from labrun.errors import LabError
from labrun.results.comparison import Comparison
from labrun.results.page.words import clean, counted, duration, moment
from labrun.runs.record import RunRecord


@dataclass(frozen=True)
class Account:
    """One run; `left_out` says why its scores do not count."""

    run: str
    arm: str
    seed: str
    state: str
    step: int
    began: str
    took: str
    host: str
    left_out: str


def accounts(found: Comparison, runs: Sequence[RunRecord]) -> list[Account]:
    """All runs, those that count first."""
    labels = {run.id: arm.label for arm in found.arms for run in arm.runs}
    ordered = sorted(runs, key=lambda run: run.id in found.left_out)
    return [
        _account(run, labels.get(run.id, ""), found.left_out.get(run.id, "")) for run in ordered
    ]


def _account(run: RunRecord, arm: str, left_out: str) -> Account:
    status = run.status()
    message = f"{left_out}; {status.message}" if left_out and status.message else left_out
    return Account(
        run=run.id,
        arm=arm,
        seed=_seed(run),
        state=status.state,
        step=status.step,
        began=moment(status.started or run.created()),
        took=_took(run),
        host=status.host,
        left_out=clean(message),
    )


def _seed(run: RunRecord) -> str:
    try:
        return str(run.experiment().run.seed)
    except LabError:
        return "?"


def _took(run: RunRecord) -> str:
    """The time of all attempts, as the events have it."""
    try:
        return duration(max(run.seconds().values(), default=0))
    except LabError:
        return "?"


def counts(found: Comparison, runs: Sequence[RunRecord]) -> str:
    """`5 runs: 3 done, 1 failed, 1 running; 2 are left out`."""
    states = Counter(run.status().state for run in runs)
    parts = ", ".join(f"{number} {state}" for state, number in states.most_common())
    left = len(found.left_out)
    tail = f"; {left} of them {'is' if left == 1 else 'are'} left out" if left else ""
    return f"{counted(len(runs), 'run')}: {parts}{tail}"
