"""What a model answered to one problem, as a report shows it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """One completion of the problem `problem` of `task`; two runs asked the same where task,
    problem, prompt and answer are equal."""

    task: str
    problem: str
    prompt: str
    answer: str
    """The reference answer; empty where there is none."""
    completion: str
    correct: bool | None = None
    """None where nothing graded it."""
    number: int = 0
    """Of several completions of one problem, which."""
    facts: Sequence[str] = ()
    """What is said beside it, such as `34 tokens`."""
    marked: Sequence[tuple[int, int]] = ()
    """(start, end) of the places of the completion that are marked, in order, none in another."""


@dataclass(frozen=True)
class Samples:
    """Completions of a run's last evaluation, and what the marks in them mean."""

    samples: Iterable[Sample]
    meaning: str = ""
    """Of the marks, in words; empty where nothing is marked."""
