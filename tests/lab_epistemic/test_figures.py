"""The studies' figures, point by point."""

import json
import math

import pytest
from lab_epistemic import figures
from labrun.experiment import Experiment, RunConfig
from labrun.results.compare import arms
from labrun.runs import run_dir

T_1 = math.tan(math.pi * 0.475)
"""97.5% quantile of Student's t with one degree of freedom."""


@pytest.fixture
def make_run(tmp_path):
    def make(study, method, scores, *, seed=0, size=8, key="train_size"):
        experiment = Experiment(
            plugin="epistemic",
            run=RunConfig(seed=seed),
            settings={"trainer": {}, "dataset": {key: size}},
            components={},
            choices={"method": method, "study": study},
            overrides=(),
        )
        run = run_dir.create(experiment, root=tmp_path)
        lines = [
            {
                "time": 1.0,
                "kind": "score",
                "step": step,
                "score": {"task": task, "metric": metric, "value": value, "n": 1, "items": []},
            }
            for (step, task, metric), value in scores.items()
        ]
        (run.path / "events.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
        run.write_status(state="done")
        return run

    return make


def scored(accuracy, words):
    return {(5, "in_domain", "accuracy"): accuracy, (5, "in_domain", "epistemic_words"): words}


def test_an_arm_is_a_point_at_its_words_and_accuracy(make_run, tmp_path):
    runs = [
        make_run("main", "grpo", scored(0.8, 1.0)),
        make_run("main", "sdpo", scored(0.5, 0.2)),
        make_run("main", "sdpo", scored(0.3, 0.4), seed=1),
    ]
    figure = figures.words_and_accuracy(arms(runs))
    assert figure is not None
    points = {c.get_label(): c for c in figure.axes[0].containers}
    assert list(points) == ["grpo", "sdpo"]
    (line, _, _), (other, _, bars) = points["grpo"], points["sdpo"]
    assert line.get_xydata().tolist() == [[1.0, 0.8]]
    assert other.get_xydata().ravel().tolist() == pytest.approx([0.3, 0.4])
    # half the interval of two values that lie 0.2 apart: T_1 * 0.1
    low, high = bars[0].get_segments()[0][:, 0]
    assert high - low == pytest.approx(2 * T_1 * 0.1)
    assert figures.draw(arms(runs), tmp_path) == [tmp_path / "words.png"]
    assert (tmp_path / "words.png").stat().st_size > 0


def test_coverage_is_a_line_a_method_over_the_training_problems(make_run, tmp_path):
    start = {(0, "in_domain", "accuracy"): 0.25}
    runs = [
        make_run("coverage", method, start | scored(accuracy, 1.0), size=size)
        for method, size, accuracy in (("grpo", 8, 0.6), ("grpo", 1, 0.5), ("sdpo", 8, 0.4))
    ]
    figure = figures.coverage(arms(runs))
    assert figure is not None
    (axis, *_) = figure.axes
    lines = {c.get_label(): c[0].get_xydata().tolist() for c in axis.containers}
    assert lines == {"grpo": [[1, 0.5], [8, 0.6]], "sdpo": [[8, 0.4]]}
    (level,) = [line for line in axis.lines if line.get_label() == "start"]
    assert set(level.get_ydata()) == {0.25}
    assert axis.get_xscale() == "log"
    assert [t.get_text() for t in axis.get_xticklabels()] == ["1", "8"]
    assert figures.draw(arms(runs), tmp_path) == [tmp_path / "coverage.png"]


def test_coverage_of_files_shows_their_own_sets_and_all_rows(make_run):
    def both(accuracy):
        return {(5, name, "accuracy"): accuracy for name in ("aime24", "seen")}

    runs = [
        make_run("coverage_rows", "grpo", both(accuracy), size=size, key="limit")
        for size, accuracy in ((8, 0.5), (None, 0.25))
    ]
    figure = figures.coverage(arms(runs))
    assert figure is not None
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == ["accuracy on the training problems", "accuracy, aime24"]
    (axis, *_) = figure.axes
    assert axis.containers[0][0].get_xydata().tolist() == [[8, 0.5], [figures.ALL, 0.25]]
    assert [t.get_text() for t in axis.get_xticklabels()] == ["8", "all"]


def test_a_panel_ends_a_little_below_zero(make_run):
    pair = [make_run("main", "sdpo", scored(a, a), seed=i) for i, a in enumerate((0.0, 0.4))]
    figure = figures.words_and_accuracy(arms(pair))
    assert figure is not None
    for low, high in (figure.axes[0].get_xlim(), figure.axes[0].get_ylim()):
        assert low == -figures.MARGIN * high


def test_a_study_without_such_scores_or_an_unknown_one_draws_nothing(make_run, tmp_path):
    for study in ("coverage", "main", "richness"):
        runs = [make_run(study, "grpo", {(5, "none", "length"): 1.0})]
        assert figures.draw(arms(runs), tmp_path) == []


def test_richness_is_the_levels_in_their_order_over_seeds(make_run, tmp_path):
    def levels(accuracy):
        return {
            (0, level, metric): value
            for level, value in (("solution", accuracy), ("none", 0.5))
            for metric in ("accuracy", "completion_length", "epistemic_words")
        }

    runs = [make_run("richness", "sdpo", levels(a), seed=i) for i, a in enumerate((0.9, 0.7))]
    figure = figures.richness(arms(runs))
    assert figure is not None
    (axis, *rest) = figure.axes
    assert len(rest) == 2
    assert axis.containers[0][0].get_ydata().tolist() == pytest.approx([0.5, 0.8])
    assert [t.get_text() for t in axis.get_xticklabels()] == ["none", "s"]
    assert figures.draw(arms(runs), tmp_path) == [tmp_path / "richness.png"]
