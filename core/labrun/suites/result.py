"""What a suite's runs give: its table, its scores over several tasks, the state of the runs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from labrun.results.over_tasks import Aggregate, Grid, aggregates
from labrun.runs import run_index
from labrun.runs.run_dir import RunDir
from labrun.suites import finding, table
from labrun.suites.earlier import later_keys
from labrun.suites.needed import Needed, held, is_changed, key_of, needed, scale_of
from labrun.suites.over_tasks import grids_of
from labrun.suites.suite import Scale, Suite
from labrun.suites.table import Line, Runs


def result_of(
    name: str, home: Path, *, scale: str | None, seeds: str | None, typed: Sequence[str]
) -> "Result":
    """What the runs under `home` give of the suite of this name or file.

    Raises LabError for a suite, scale, seed or word that is none.
    """
    suite = finding.find(name)
    at = scale_of(suite, scale)
    wanted = needed(suite, at, seeds=seeds, typed=typed)
    there = run_index.members(wanted[0].experiment.run.group, home)
    return Result(suite, at, wanted, held(there, wanted), typed)


@dataclass(frozen=True)
class Result:
    """A suite at one scale, with the runs that are there of those that it needs.

    `held`: key -> run, as `needed.held` gives it. `typed`: words of the command.
    """

    suite: Suite
    scale: Scale
    wanted: Sequence[Needed]
    held: Mapping[str, RunDir]
    typed: Sequence[str] = ()

    @cached_property
    def runs(self) -> Runs:
        """The done runs."""
        return table.done_runs(self.wanted, self.held)

    @cached_property
    def lines(self) -> list[Line]:
        return table.lines(self.scale, self.wanted, self.runs)

    @property
    def numbered(self) -> list[Line]:
        """The lines that have a number, published or ours."""
        return [line for line in self.lines if line.published is not None or line.ours is not None]

    @cached_property
    def grids(self) -> list[Grid]:
        return grids_of(self.scale, self.wanted, self.runs)

    @property
    def rates(self) -> list[Grid]:
        """The grids of rates, of which a performance profile can be drawn."""
        return [grid for grid in self.grids if grid.is_rate]

    @property
    def group(self) -> str:
        """The label that all its runs have."""
        return self.wanted[0].experiment.run.group

    @property
    def baseline(self) -> str | None:
        """The arm that the others are compared with over several tasks: the suite's first."""
        first = next(iter(self.scale.arms))
        return first if all(first in grid.scores for grid in self.grids) else None

    @cached_property
    def over_tasks(self) -> list[Aggregate]:
        """Each arm on all tasks of a metric at once."""
        return [one for grid in self.grids for one in aggregates(grid, self.baseline)]

    @cached_property
    def is_changed(self) -> bool:
        """Whether the typed words change what the results depend on."""
        return is_changed(self.suite, self.scale, self.typed)

    def later_keys(self) -> list[str]:
        """Settings that came after some of the runs, which therefore count at their defaults."""
        held = {key: run.experiment() for key, run in self.held.items()}
        earlier = [one for key, one in held.items() if key_of(one) != key]
        return sorted({key for one in earlier for key in later_keys(one)})

    def counts(self) -> str:
        """`3 of 14 done, 1 failed, 10 not begun`."""
        states = Counter(run.status().state for run in self.held.values())
        done = states.pop("done", 0)
        others = [f"{count} {state}" for state, count in sorted(states.items())]
        if left := len(self.wanted) - len(self.held):
            others.append(f"{left} not begun")
        return ", ".join([f"{done} of {len(self.wanted)} done", *others])
