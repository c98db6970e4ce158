"""What `lab bench --dry-run` prints: every run of a suite, and what is missing for it here."""

from collections.abc import Sequence

from rich.console import Console

from labrun.cli.reports import print_missing
from labrun.cli.suite_reports import print_head
from labrun.config import word_files
from labrun.errors import LabError, listed
from labrun.launch import session
from labrun.suites import needed
from labrun.suites.needed import Needed
from labrun.suites.result import Result
from labrun.suites.suite import Scale


def print_plan(result: Result, console: Console) -> None:
    """Every run of the suite, what it knows of itself, and what is missing on this machine."""
    print_head(result, console)
    scale, wanted, held = result.scale, result.wanted, result.held
    todo = [one for one in wanted if needed.key_of(one.experiment) not in held]
    begun = sum(1 for run in held.values() if run.status().state != "done")
    console.print(
        f"plan: {len(wanted)} runs in group {result.group}; "
        f"{len(held) - begun} done, {begun} begun, {len(todo)} to begin; nothing was started",
        soft_wrap=True,
    )
    _print_arms(scale, wanted, console)
    lacking = [f"needs {text}" for text in needed.not_given(scale, result.typed)]
    found, refused = _planned(wanted)
    print_missing([*lacking, *session.missing(found)], console)
    for text, names in refused.items():
        everywhere = len(names) == len({one.name for one in wanted})
        of = "every arm" if everywhere else listed(names, most=3)
        told = f"not planned to the end on this machine ({of}): {text}"
        console.print(told, style="yellow", soft_wrap=True)


def _print_arms(scale: Scale, wanted: Sequence[Needed], console: Console) -> None:
    """The words of all runs, of each arm and of each label of an axis; and one whole command."""
    rows = [("all", "", scale.overrides)]
    rows += [("arm", name, words) for name, words in scale.arms.items()]
    for axis, labels in scale.axes.items():
        rows += [(axis, label, words) for label, words in labels.items()]
    wide, width = (max(len(row[column]) for row in rows) for column in (0, 1))
    for kind, name, words in rows:
        text = word_files.shell(words) or "(as all)"
        console.print(f"  {kind:<{wide}}  {name:<{width}}  {text}", soft_wrap=True)
    for left in scale.left_out:
        console.print(f"  left out: {', '.join(left.values())}", soft_wrap=True)
    seeds = dict.fromkeys(str(one.seed) for one in wanted)
    console.print(f"  seeds {','.join(seeds)}; the last run by itself:", soft_wrap=True)
    words = [word for word in wanted[-1].words if word.key != "group"]
    console.print(f"  lab run {word_files.shell(words)}", soft_wrap=True)


def _planned(
    wanted: Sequence[Needed],
) -> tuple[list[session.Plans], dict[str, list[str]]]:
    """The plans of one seed of each arm; and why some could not be planned here -> which."""
    first: dict[str, Needed] = {}
    for one in wanted:
        first.setdefault(one.name, one)
    plans: list[session.Plans] = []
    refused: dict[str, list[str]] = {}
    for name, one in first.items():
        try:
            plans += session.preflight([one.experiment])
        except LabError as error:
            refused.setdefault(str(error), []).append(name)
    return plans, refused
