"""Settings that somebody gives and that change nothing in the run."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from labrun.config.words import Word
from labrun.experiment import Experiment
from labrun.plan import Plan


def remarks(experiments: Sequence[Experiment], plans: Sequence[Mapping[str, Plan]]) -> list[str]:
    """A line for each key that a word of the command sets and its component does not use.

    `plans` are those of each experiment, by section. Keys that presets set are passed over.
    """
    found = Counter(
        line
        for experiment, of_run in zip(experiments, plans, strict=True)
        for line in _lines(experiment, of_run)
    )
    total = len(experiments)
    return [
        line if count == total else f"{line} ({count} of {total} runs)"
        for line, count in found.items()
    ]


def _lines(experiment: Experiment, plans: Mapping[str, Plan]) -> Iterator[str]:
    words = [Word.of(text).key for text in experiment.overrides]
    for section, plan in plans.items():
        for key, reason in plan.unused.items():
            full = f"{section}.{key}"
            if any(f".{full}".endswith(f".{word}") for word in words):
                yield f"{full} changes nothing with {reason}"
