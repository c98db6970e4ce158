"""Suites whose runs are written by hand."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from labrun.suites.needed import Needed, held
from labrun.suites.result import Result
from labrun.suites.suite import Row, Scale, Source, Suite

Scores = Mapping[str, float]
"""Task -> win rate."""
SOURCE = Source("arXiv 1", "table 2", "percent of won episodes")


@pytest.fixture
def result(make_run, event) -> Callable[..., Result]:
    """`result({"a": [{"x": .5}], "b": [...]})`: arm -> the scores of seeds 0, 1, ...

    With `axes` there is a run for each label, of the same scores plus its place by 1/8.
    """

    def made(
        arms: Mapping[str, Sequence[Scores]],
        *,
        rows: Sequence[Row] = (),
        labels: Sequence[str] = (),
        toy: str = "",
        missing: Sequence[tuple[str, str, int]] = (),
        metric: str = "win_rate",
    ) -> Result:
        axes = {"maps": dict.fromkeys(labels, ())} if labels else {}
        named = dict.fromkeys(arms, ())
        scale = Scale(
            "paper" if not toy else "tiny", toy, (), named, axes, (), tuple(rows), {}, "0"
        )
        suite = Suite("mine", Path("mine.yaml"), "Is b_1 better?", SOURCE, "b above a", (), {})
        wanted, runs = [], []
        for arm, seeds in arms.items():
            for place, label in enumerate(labels or [""]):
                for seed, scores in enumerate(seeds):
                    values = {task: value + place / 8 for task, value in scores.items()}
                    run = make_run(
                        *(event.score(3, value, metric, task) for task, value in values.items()),
                        seed=seed,
                        method=f"{arm}{label}",
                        state="failed" if (arm, label, seed) in missing else "done",
                    )
                    point = {"maps": label} if label else {}
                    wanted.append(Needed(arm, point, seed, run.experiment(), ()))
                    runs.append(run)
        return Result(suite, scale, wanted, held(runs, wanted))

    return made
