"""The command bench: run a suite, or what is missing of it, and print published beside ours."""

import gc
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from labrun.cli.options import Detach, Wait, console
from labrun.errors import LabError, unknown
from labrun.system import streams

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from labrun.experiment import Experiment
    from labrun.runs.run_dir import RunDir
    from labrun.suites.needed import Needed
    from labrun.suites.result import Result
    from labrun.suites.suite import Scale, Suite


def bench(
    suite: Annotated[
        str | None, typer.Argument(help="A suite's name, or a YAML file; none: list the suites.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value that every run of the suite has.")
    ] = None,
    scale: Annotated[
        str | None, typer.Option(help="A scale of the suite; its first one if not set.")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Seeds such as 0,1,2; the suite's if not set.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every run and print the plan.")
    ] = False,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Start nothing; print the table of what is there.")
    ] = False,
    wait: Wait = False,
    detach: Detach = False,
    kind: Annotated[
        str, typer.Option("--format", help="Of the table: text, md, latex, csv or json.")
    ] = "text",
) -> None:
    """Run a published table, what is missing of it, and print it: lab bench rlrt-main."""
    from labrun.cli import suite_reports as report
    from labrun.results.store import catch_up
    from labrun.runs.run_dir import home
    from labrun.suites import finding, formats, needed

    if kind not in formats.FORMATS:
        raise unknown("--format", kind, formats.FORMATS)
    if dry_run and kind != "text":
        raise LabError(f"--dry-run prints a plan and no table; leave --format {kind} out")
    if suite is None:
        report.print_suites(console())
        return
    found, typed = finding.find(suite), overrides or []
    chosen = needed.scale_of(found, scale)
    wanted = needed.needed(found, chosen, seeds=seeds, typed=typed)
    asked = _Asked(found, chosen, wanted, typed, home(), is_table_alone=kind != "text")
    if dry_run:
        from labrun.cli.suite_plan import print_plan

        print_plan(asked.result(), console())
        return
    runs = [] if report_only else _run_missing(asked, detach=detach, wait=wait)
    failed = report.print_started(runs, asked.console())
    if asked.is_table_alone:
        print(formats.formatted(asked.result(), kind), end="")
    else:
        report.print_results(asked.result(), console())
    catch_up(home())
    report.refuse_failed(failed)


@dataclass(frozen=True)
class _Asked:
    """What the command asks for."""

    suite: "Suite"
    scale: "Scale"
    wanted: "Sequence[Needed]"
    typed: Sequence[str]
    home: "Path"
    is_table_alone: bool
    """Whether standard output has the table in another format and nothing else."""

    def console(self) -> "Console":
        """Where everything but the table is said."""
        return console(stderr=self.is_table_alone)

    def result(self) -> "Result":
        """What is there now."""
        from labrun.suites.result import Result

        return Result(self.suite, self.scale, self.wanted, self.held(), self.typed)

    @property
    def group(self) -> str:
        return self.wanted[0].experiment.run.group

    @property
    def launcher(self) -> str:
        return self.wanted[0].experiment.run.launcher

    def held(self) -> "dict[str, RunDir]":
        """Key -> run, of those that the group has."""
        from labrun.runs import run_index
        from labrun.suites import needed

        return needed.held(run_index.members(self.group, self.home), self.wanted)


def _run_missing(asked: _Asked, *, detach: bool, wait: bool) -> "list[RunDir]":
    """The runs that were started, whatever became of them.

    Raises LabError, before any work, where a run cannot be made here.
    """
    from labrun.launch import session, submitting
    from labrun.suites import needed

    held = asked.held()
    new = [one for one in asked.wanted if needed.key_of(one.experiment) not in held]
    stopped = [run for run in held.values() if session.is_to_go_on(run)]
    if new:
        _refuse_missing(asked, new)
    text = f"{len(held) - len(stopped)} of {len(asked.wanted)} runs of {asked.group}"
    told = f"{text} are done or under way; {len(stopped)} go on, {len(new)} begin"
    print(f"lab: {told}", file=sys.stderr)
    gc.enable()
    begin = [one.experiment for one in new]
    if submitting.outlives(asked.wanted[0].experiment.run, detach=detach):
        return _launched(asked, begin, stopped, detach=detach, wait=wait)
    with streams.unheld():
        return _launched(asked, begin, stopped, detach=False, wait=False)


def _refuse_missing(asked: _Asked, new: "Sequence[Needed]") -> None:
    from labrun.config import word_files
    from labrun.launch import session
    from labrun.suites import needed

    if lacking := needed.not_given(asked.scale, asked.typed):
        text = f"suite {asked.suite.name} at scale={asked.scale.name} needs {lacking[0]}"
        raise LabError(f"{text}; `lab bench {asked.suite.name} ... --dry-run` needs none")
    with word_files.located([one.words for one in new]):
        plans = session.preflight([one.experiment for one in new])
    session.refuse_missing(plans)


def _launched(
    asked: _Asked,
    new: "Sequence[Experiment]",
    stopped: "Sequence[RunDir]",
    *,
    detach: bool,
    wait: bool,
) -> "list[RunDir]":
    """New runs and stopped ones together. Stopped ones of another launcher go on there, first."""
    from labrun.launch import session

    away: dict[str, list[RunDir]] = {}
    for run in stopped:
        away.setdefault(run.experiment().run.launcher, []).append(run)
    here, done = away.pop(asked.launcher, []), []
    for runs in away.values():
        session.resume(runs, asked.home, asked.console, detach=detach, wait=wait)
        done += runs
    if not new and not here:
        return done
    how = {"go_on": here, "detach": detach, "wait": wait}
    return [*done, *session.launch(new, asked.home, asked.console, **how)]
