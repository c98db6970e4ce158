"""How the runs of a report are made again: the commands, as a shell takes them."""

from collections.abc import Sequence
from dataclasses import dataclass

from labrun.config.credentials import masked
from labrun.config.words import command_line, expand
from labrun.errors import LabError
from labrun.results.page import provenance
from labrun.results.page.words import clean
from labrun.runs.record import RunRecord

MOST_COMMANDS = 40
OWN = ("seed", "group")
"""Keys of the run itself, which stand in every command."""


@dataclass(frozen=True)
class Command:
    """A command, and what it is for."""

    text: str
    what: str


def commands(runs: Sequence[RunRecord], report: str) -> list[Command]:
    """The code, the runs as few commands, and `report`, the command that made the report."""
    found = [*_checkouts(runs)]
    words = [_words(run) for run in runs]
    known = [one for one in words if one]
    folded = _folded(known)
    for text in folded[:MOST_COMMANDS]:
        found.append(Command(clean(masked(text)), "train and evaluate"))
    if (more := len(folded) - MOST_COMMANDS) > 0:
        found.append(Command("", f"{more} more; `lab runs show RUN` prints each"))
    if missing := len(words) - len(known):
        found.append(Command("", f"{missing} runs have a damaged spec and no command"))
    return [*found, Command(clean(masked(report)), "this page")]


def _checkouts(runs: Sequence[RunRecord]) -> list[Command]:
    found = []
    for name, by_commit in provenance.commits(runs).items():
        for commit, is_changed in by_commit.items():
            what = f"the code of {name}"
            if is_changed:
                what += "; uncommitted changes lie in the run directories (code.diff)"
            found.append(Command(f"git checkout {clean(commit)}", what))
    return found


def _words(run: RunRecord) -> tuple[str, ...]:
    """The words of `lab run` for this run; none where its spec is damaged."""
    try:
        experiment = run.experiment()
    except LabError:
        return ()
    said = {word.partition("=")[0] for word in experiment.overrides}
    own = (f"{key}={getattr(experiment.run, key)}" for key in OWN if key not in said)
    return (*experiment.overrides, *own)


def _folded(runs: Sequence[tuple[str, ...]]) -> list[str]:
    """One sweep where the runs are all combinations of their values; else a command each."""
    distinct = list(dict.fromkeys(runs))
    sweep = _sweep(distinct)
    if len(distinct) > 1 and sweep:
        return [f"lab run -m {command_line(sweep)}"]
    if len(distinct) > 1:
        return _by_method(distinct)
    return [f"lab run {command_line(words)}" for words in distinct]


def _by_method(runs: Sequence[tuple[str, ...]]) -> list[str]:
    """A sweep over the seeds of the runs that are alike but for it; a command each elsewhere."""
    alike: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for words in runs:
        rest = tuple(word for word in words if not word.startswith("seed="))
        alike.setdefault(rest, []).append(words)
    lines = []
    for members in alike.values():
        sweep = _sweep(members) if len(members) > 1 else None
        lines += (
            [f"lab run -m {command_line(sweep)}"]
            if sweep
            else [f"lab run {command_line(words)}" for words in members]
        )
    return lines


def _sweep(runs: Sequence[tuple[str, ...]]) -> list[str] | None:
    """The words of a sweep that gives these runs and no others; None where there is none."""
    values: dict[str, dict[str, None]] = {}
    for words in runs:
        for word in words:
            key, _, value = word.partition("=")
            values.setdefault(key, {})[value] = None
    swept = [f"{key}={','.join(of)}" for key, of in values.items()]
    try:
        points = {frozenset(point) for point in expand(swept)}
    except LabError:
        return None
    return swept if points == {frozenset(words) for words in runs} else None
