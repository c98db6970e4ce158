"""Runs as frames and files: one row a run, a score or a point."""

import math

import pandas as pd
import pytest
from labrun.errors import LabError
from labrun.results import frames
from labrun.results.comparison import comparison_of
from labrun.runs import notes, run_index


@pytest.fixture
def runs(make_run, event):
    first = make_run(
        event.attempt(0),
        event.metrics(1, loss=0.5, reward=1.0),
        event.metrics(2, loss=math.nan),
        event.score(0, 0.1),
        event.score(2, 0.75),
        settings={"path": [1, 2], "batch": 4},
        uri="http://me:word@host:5000",
    )
    return [first, make_run(event.attempt(0), seed=1, method="other", settings={"batch": "all"})]


def test_runs_have_a_column_for_each_setting_and_score(runs):
    notes.change(runs[0].path, tags=("a", "b"), note="why")
    frame = frames.runs(run_index.of(runs))
    assert list(frame["id"]) == [run.id for run in runs]
    assert list(frame["tags"]) == ["a,b", ""]
    assert list(frame["seed"]) == [0, 1]
    assert list(frame["method"]) == ["plain", "other"]
    assert list(frame["trainer.inner.rate"]) == [0.5, 0.5]
    assert list(frame["trainer.batch"]) == ["4", "all"]
    assert frame["trainer.path"][0] == "[1, 2]"
    assert pd.isna(frame["trainer.path"][1])
    assert frame["test/accuracy"][0] == 0.75
    assert math.isnan(frame["test/accuracy"][1])
    assert frame["tracking.uri"][0] == "http://***@host:5000"
    assert frame["resources.wait"].dtype == "boolean"
    assert frame["trainer.max_steps"].dtype == "Int64"


def test_scores_have_a_row_for_each_step(runs):
    frame = frames.scores(runs)
    who = (runs[0].id, "toy", "plain", 0)
    assert [tuple(row) for row in frame.itertuples(index=False)] == [
        (*who, "test", "accuracy", 0, 0.1, 4),
        (*who, "test", "accuracy", 2, 0.75, 4),
    ]


def test_series_have_a_row_for_each_step_and_can_be_chosen(runs):
    frame = frames.series(runs)
    points = [(m, s) for m, s in zip(frame["metric"], frame["step"], strict=True)]
    assert points == [("loss", 1), ("loss", 2), ("reward", 1)]
    assert list(frames.series(runs, ["reward"])["value"]) == [1.0]
    with pytest.raises(LabError, match="no metric 'los'; did you mean 'loss'"):
        frames.series(runs, ["los"])


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_file_holds_what_the_frame_does(runs, tmp_path, ending):
    read = pd.read_csv if ending == ".csv" else pd.read_parquet
    path = tmp_path / "folder" / f"runs{ending}"
    frames.write(frames.runs(run_index.of(runs)), path)
    back = read(path)
    assert list(back["id"]) == [run.id for run in runs]
    assert back["test/accuracy"][0] == 0.75
    frames.write(frames.series(runs), path)
    values = list(read(path)["value"])
    assert values[0::2] == [0.5, 1.0]
    assert math.isnan(values[1])


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(LabError, match=r"ends in \.csv or \.parquet"):
        frames.refuse_format(tmp_path / "runs.json")


def test_what_cannot_be_written_is_one_line(runs, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LabError, match="choose another place"):
        frames.write(frames.scores(runs), tmp_path / "file" / "runs.csv")


def test_over_tasks_has_a_row_a_metric_and_arm(make_run, event):
    two = (event.score(3, 0.25, task="a"), event.score(3, 0.75, task="b"))
    runs = [make_run(*two, seed=seed, method=method) for method in ("x", "y") for seed in (0, 1)]
    found = frames.over_tasks(comparison_of(runs, baseline="x").over_tasks)
    assert found["arm"].tolist() == ["x", "y"]
    assert found["num_tasks"].tolist() == [2, 2]
    assert found["mean"].tolist() == [0.5, 0.5]
    assert found["better_than_baseline"].fillna(-1.0).tolist() == [-1.0, 0.5]
    assert frames.over_tasks([]).columns.tolist() == found.columns.tolist()
