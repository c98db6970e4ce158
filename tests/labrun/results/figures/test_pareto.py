"""Score against cost."""

import pytest
from labrun.results import compare
from labrun.results.figures import pareto


@pytest.fixture
def arms(make_run, event):
    """Of each method the seconds that two seeds took, and their last score."""

    def make(**methods):
        runs = [
            make_run(
                {**event.attempt(0), "time": 0.0},
                {**event.score(3, score), "time": float(seconds)},
                seed=seed,
                method=method,
            )
            for method, (seconds, score) in methods.items()
            for seed in (0, 1)
        ]
        return compare.arms(runs)

    return make


def test_an_arm_lies_at_its_cost_and_score(arms):
    (arm,) = arms(plain=(10, 0.5))
    cost, score = pareto.place_of(arm, "test/accuracy", "seconds")
    assert (cost.mean, score.mean, score.half_width) == (10.0, 0.5, 0.0)
    assert pareto.place_of(arm, "test/other", "seconds") is None


def test_the_front_holds_what_nothing_beats():
    places = {"a": (1.0, 0.2), "b": (2.0, 0.1), "c": (3.0, 0.5), "d": (3.0, 0.4)}
    assert pareto.front(places) == ["a", "c"]


def test_the_front_is_drawn(arms):
    compared = arms(cheap=(1, 0.2), dear=(9, 0.9), worse=(5, 0.1))
    figure = pareto.draw(compared, ["test/accuracy"])
    (axis,) = figure.axes
    front = next(line for line in axis.lines if line.get_color() == "0.5")
    assert front.get_xydata().tolist() == [[1.0, 0.2], [9.0, 0.9]]
    assert axis.get_xlabel() == "seconds of the run"
    assert {text.get_text() for text in axis.texts} == {"cheap", "dear", "worse"}


@pytest.mark.parametrize(
    ("metric", "lower", "line"),
    [
        ("test/words", ["test/words"], [[1.0, 0.2], [5.0, 0.1]]),
        ("test/words", ["words"], [[1.0, 0.2], [5.0, 0.1]]),
        ("test/loss", [], [[1.0, 0.2], [5.0, 0.1]]),
        ("test/words", [], None),
    ],
)
def test_less_may_be_better_or_neither(make_run, event, metric, lower, line):
    runs = [
        make_run(
            {**event.attempt(0), "time": 0.0},
            {**event.score(3, score, metric.partition("/")[2]), "time": seconds},
            method=method,
        )
        for method, seconds, score in (("a", 1.0, 0.2), ("b", 9.0, 0.9), ("c", 5.0, 0.1))
    ]
    (axis,) = pareto.draw(compare.arms(runs), [metric], lower=lower).axes
    lines = [one.get_xydata().tolist() for one in axis.lines if one.get_color() == "0.5"]
    assert lines == ([] if line is None else [line])
