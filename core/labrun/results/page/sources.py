"""Where the completions of an arm come from: a run, and the functions of its evaluators."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from labrun.errors import LabError
from labrun.plugins import discovery
from labrun.results.arms import Arm
from labrun.runs.record import RunRecord
from labrun.sample import Sample, Samples


@dataclass(frozen=True)
class Source:
    """Where one arm's samples come from: its run, the functions of its evaluators."""

    arm: int
    """Its place among all arms."""
    label: str
    run: RunRecord
    seed: int
    read: Callable[[], list[Samples]]

    def samples(self) -> Iterator[Sample]:
        for one in self.read():
            yield from one.samples


def source_of(arms: Sequence[Arm], index: int, order: Sequence[int]) -> Source | None:
    """The source of the arm at `index`, of the lowest seed that the arms in `order` share, else of
    its own lowest. None where no evaluator of it keeps completions."""
    seeds = [{run.experiment().run.seed for run in arms[i].runs} for i in order]
    common = set.intersection(*seeds)
    arm = arms[index]
    by_seed = {run.experiment().run.seed: run for run in arm.runs}
    seed = min(common or by_seed)
    run = by_seed[seed]
    functions = _functions(run)
    if not functions:
        return None
    read = [lambda f=function, s=section: f(run, s) for section, function in functions]
    return Source(index, arm.label, run, seed, lambda: [one() for one in read])


def _functions(run: RunRecord) -> list[tuple[str, Callable[..., Samples]]]:
    """(section, function) of each evaluator of the run that keeps completions."""
    found = []
    for section, name in run.experiment().components.items():
        owner = name.partition(".")[0]
        if not section.startswith("evaluator") or owner not in discovery.installed():
            continue
        try:
            _, component = discovery.find("evaluator", name, discovery.load(owner))
            if component.samples:
                found.append((section, discovery.resolve(component.samples)))
        except LabError:
            continue  # an evaluator that is no longer there; the scores are, whatever it kept
    return found
