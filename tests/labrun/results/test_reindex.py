"""Runs are written to the store together, and yet each stands for itself."""

import json
import shutil
import sqlite3
from contextlib import closing

import pytest
from labrun.results.store import Mirror
from labrun.results.store import reindex as rebuilt
from labrun.results.store.database import KNOWN_TABLES, Database
from labrun.results.store.reindex import reindex
from labrun.results.store.trouble import reason_of


@pytest.fixture
def mirror(tmp_path):
    return Mirror(tmp_path / "home")


def points(mirror) -> dict[str, int]:
    """Run id -> points in the store."""
    with mirror.opened() as store:
        rows = store._ask(
            "select t.value, count(m.key) from tags t left join metrics m using (run_uuid)"
            " where t.key = 'labrun.id' group by 1"
        )
    return dict(rows)


def test_one_run_s_trouble_leaves_only_that_run_out(mirror, make_run, event):
    runs = [make_run(*(event.metrics(i, loss=1.0) for i in range(3)), seed=s) for s in range(5)]
    bad = event.metrics(9, loss=1.0)
    bad["metrics"]["loss"] = "much"
    with open(runs[1].path / "events.jsonl", "a") as out:
        out.write(json.dumps(bad) + "\n")
    (runs[3].path / "spec.json").write_text("{}")
    done = reindex(mirror)
    assert done.written == 3
    assert set(done.left_out) == {runs[1].id, runs[3].id}
    assert "events.jsonl has what is no number" in done.left_out[runs[1].id]
    assert points(mirror) == {runs[i].id: 3 for i in (0, 2, 4)}


def test_a_run_that_fails_keeps_what_the_store_had_of_it(mirror, make_run, event):
    runs = [make_run(event.metrics(1, loss=1.0), seed=seed) for seed in range(3)]
    reindex(mirror)
    bad = event.metrics(2, loss=1.0)
    bad["metrics"]["loss"] = None
    with open(runs[1].path / "events.jsonl", "a") as out:
        out.write(json.dumps(bad) + "\n")
    with open(runs[2].path / "events.jsonl", "a") as out:
        out.write(json.dumps(event.metrics(2, loss=1.0)) + "\n")
    assert reindex(mirror).written == 2
    assert points(mirror) == {runs[0].id: 1, runs[1].id: 1, runs[2].id: 2}


def test_runs_are_written_in_few_transactions(mirror, make_run, event, monkeypatch):
    for seed in range(8):
        make_run(event.metrics(1, loss=1.0), seed=seed)
    monkeypatch.setattr(rebuilt, "TOGETHER_S", 60.0)
    asked: list[str] = []
    ask = Database._ask

    def noted(store, words, *values):
        asked.append(words)
        return ask(store, words, *values)

    monkeypatch.setattr(Database, "_ask", noted)
    assert reindex(mirror).written == 8
    assert asked.count("begin immediate") == 2  # the runs, and what is gone


def test_small_and_large_runs_are_all_written(mirror, make_run, event, monkeypatch):
    monkeypatch.setattr(rebuilt, "AT_ONCE", 500)
    counts = [1, 40, 2, 3, 50, 1]
    made = [make_run(*(event.metrics(i, loss=1.0) for i in range(n)), seed=n) for n in counts]
    assert reindex(mirror).written == 6
    assert points(mirror) == {run.id: n for run, n in zip(made, counts, strict=True)}


def test_a_second_time_writes_the_same_rows_under_the_same_ids(mirror, make_run, event):
    for seed in range(4):
        make_run(*(event.metrics(i, loss=1.0) for i in range(50)), seed=seed)
    reindex(mirror)
    before = ids(mirror)
    size = mirror.path.stat().st_size
    reindex(mirror)
    assert ids(mirror) == before
    assert mirror.path.stat().st_size <= 1.2 * size
    shutil.rmtree(mirror.home / before[0][1])
    assert reindex(mirror).removed == [before[0][1]]
    assert ids(mirror) == before[1:]


def ids(mirror) -> list[tuple]:
    with mirror.opened() as store:
        return store._ask("select run_uuid, value from tags where key = 'labrun.id' order by 2")


def test_a_store_of_another_mlflow_is_named_with_the_ways_out(lab_here, home, make_run, event):
    make_run(event.metrics(1, loss=1.0), root=home)
    reindex(Mirror(home))
    with closing(sqlite3.connect(home / "mlflow.db")) as store, store:
        store.execute("update alembic_version set version_num = 'abc'")
    done = lab_here("reindex")
    assert done.returncode == 2
    assert done.stderr == (
        f"lab: the results store {home}/mlflow.db is of another version of MLflow: Detected "
        f"out-of-date database schema (found version abc, but expected {KNOWN_TABLES}); `mlflow "
        f"db upgrade sqlite:///{home}/mlflow.db`, or move the file aside and `lab reindex`\n"
    )
    (home / "mlflow.db").rename(home / "aside.db")
    assert lab_here("reindex").returncode == 0


def test_an_error_of_a_server_is_said_without_its_password():
    error = ConnectionError("cannot reach http://me:hunter2@host:1/x?token=abc now")
    assert reason_of(error) == "cannot reach http://***@host:1/x?token=*** now"


def test_files_are_copied_while_no_other_writer_waits(mirror, make_run, event, monkeypatch):
    runs = [make_run(event.metrics(1, loss=1.0), seed=seed) for seed in range(3)]
    (runs[1].artifacts / "page.html").write_text("<p>shown</p>")
    waited: list[bool] = []
    keep_files = Database._keep_files

    def watched(store, run, *rest):
        waited.append(run.id == runs[1].id and store._database.in_transaction)
        keep_files(store, run, *rest)

    monkeypatch.setattr(Database, "_keep_files", watched)
    assert reindex(mirror).written == 3
    assert waited == [False] * 3
    assert [p.name for p in mirror.home.glob("mlflow-artifacts/**/page.html")] == ["page.html"]
