"""The training view of a group, as MLflow reads it from the experiment's tag."""

import json

import pytest
from labrun.results.store import Mirror, ensure_sqlite
from labrun.results.store.view import VIEW_TAG, Stored, families, swept, view_of

# MLflow and SQLAlchemy use deprecated features of each other and of their dependencies.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def stored(**more) -> Stored:
    """Two runs that differ in seed and rate."""
    params = {
        "seed": {"a": "0", "b": "1"},
        "plugin": {"a": "toy", "b": "toy"},
        "trainer.rate": {"a": "0.1", "b": "0.2"},
        "trainer.size": {"a": "1", "b": "2"},
    }
    metrics = {
        "train/loss": {"a": 9, "b": 9},
        "time/step": {"a": 9, "b": 9},
        "eval/test/accuracy": {"a": 0, "b": 0},
    }
    said = frozenset({"plugin", "seed", "rate", "group"})
    return Stored(frozenset("ab"), said, params, metrics, **more)


def test_axes_are_the_settings_that_vary_and_that_a_command_names():
    assert swept(stored(), frozenset("ab")) == ["seed", "trainer.rate"]
    assert swept(stored(), frozenset("a")) == []


def test_scores_come_first_and_times_last():
    view = view_of("g", stored())
    names = [section["name"] for section in view["compareRunSections"]]
    assert names == ["settings and scores", "eval", "train", "time"]
    sections = {section["uuid"]: section["name"] for section in view["compareRunSections"]}
    charts = {
        chart.get("metricKey", "axes"): (chart["type"], sections[chart["metricSectionId"]])
        for chart in view["compareRunCharts"]
    }
    assert charts == {
        "axes": ("PARALLEL", "settings and scores"),
        "eval/test/accuracy": ("BAR", "eval"),
        "train/loss": ("LINE", "train"),
        "time/step": ("LINE", "time"),
    }
    assert view["searchFilter"] == "tags.`group` = 'g'"


def test_parallel_axes_hold_only_scores_that_all_their_runs_have():
    one = stored()
    one.metrics |= {"eval/other/return": {"b": 3}, "eval/test/pass": {"a": 1, "b": 1}}
    assert families(one) == {
        frozenset("ab"): ["eval/test/accuracy", "eval/test/pass"],
        frozenset("b"): ["eval/other/return"],
    }


def test_a_group_without_scores_has_no_parallel_axes():
    one = stored()
    del one.metrics["eval/test/accuracy"]
    names = [section["name"] for section in view_of("g", one)["compareRunSections"]]
    assert names == ["train", "time"]


def test_the_view_is_a_tag_of_the_experiment_and_holds_one_group(tmp_path, make_run, event):
    home = tmp_path / "home"
    ensure_sqlite(home / "mlflow.db")
    mirror = Mirror(home)
    for group, metric in (("it's", "loss"), ("other", "reward")):
        mirror.update(make_run(event.metrics(1, **{metric: 1.0}), group=group))
    with mirror.opened() as store:
        experiment, key = store.keep_view("other")
        assert store.keep_view("it's") == (experiment, key)
    tags = mirror.client().get_experiment(str(experiment)).tags
    assert f"mlflow.sharedViewState.{key}" == VIEW_TAG
    view = json.loads(tags[VIEW_TAG])
    assert [chart["metricKey"] for chart in view["compareRunCharts"]] == ["train/loss"]
    assert view["searchFilter"] == 'tags.`group` = "it\'s"'
    found = mirror.client().search_runs([str(experiment)], view["searchFilter"])
    assert [run.data.tags["group"] for run in found] == ["it's"]
