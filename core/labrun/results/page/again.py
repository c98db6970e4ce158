"""How the runs of a report are made again: the commands, as a shell takes them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from labrun.config.credentials import masked
from labrun.config.words import command_line, expand, is_sweep
from labrun.errors import LabError
from labrun.results.page import provenance
from labrun.results.page.words import clean, counted
from labrun.runs.record import RunRecord

MOST_COMMANDS = 40
OWN = ("seed", "group")
"""Keys of the run itself, which stand in every command."""


@dataclass(frozen=True)
class Step:
    """What is done, and the commands that do it."""

    what: str
    lines: Sequence[str] = ()


def steps(runs: Sequence[RunRecord], report: str) -> list[Step]:
    """The code, the runs in few commands, and `report`, the command that made the report."""
    known = [words for run in runs if (words := _words(run))]
    lines = [clean(masked(text)) for text in _folded(list(dict.fromkeys(known)))]
    found = [*_checkouts(runs), Step("train and evaluate", lines[:MOST_COMMANDS])]
    if (more := len(lines) - MOST_COMMANDS) > 0:
        found.append(Step(f"and {more} more; `lab runs show RUN` prints each"))
    if missing := len(runs) - len(known):
        found.append(Step(f"{counted(missing, 'run')} with a damaged spec: not known"))
    return [*found, Step("this page", [clean(masked(report))])]


def _checkouts(runs: Sequence[RunRecord]) -> list[Step]:
    found = []
    for name, by_commit in provenance.commits(runs).items():
        for commit, is_changed in by_commit.items():
            what = f"the code of {clean(name)}"
            if is_changed:
                what += "; uncommitted changes lie in the run directories (code.diff)"
            found.append(Step(what, [f"git checkout {clean(commit)}"]))
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
    """The runs as sweeps, as many together as are all combinations of their values.

    Tried are all, those of equal seeds, those that differ in the seed alone, and each by itself.
    """
    for key in (lambda words: "", _seeds_of(runs), _but_seed):
        groups: dict[object, list[tuple[str, ...]]] = {}
        for words in runs:
            groups.setdefault(key(words), []).append(words)
        sweeps = [_sweep(members) for members in groups.values()]
        if all(sweeps):
            return [_line(words) for words in sweeps if words]
    return [_line(words) for words in runs]


def _line(words: Sequence[str]) -> str:
    return f"lab run {'-m ' if is_sweep(words) else ''}{command_line(words)}"


def _but_seed(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(word for word in words if not word.startswith("seed="))


def _seeds_of(runs: Sequence[tuple[str, ...]]) -> Callable[[tuple[str, ...]], object]:
    """The seeds of all runs that are like one but for the seed."""
    seeds: dict[tuple[str, ...], set[str]] = {}
    for words in runs:
        seeds.setdefault(_but_seed(words), set()).update(set(words) - {*_but_seed(words)})
    return lambda words: frozenset(seeds[_but_seed(words)])


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
