import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from labrun import run_dir, store
from labrun.store import LiveMirror, Mirror, ensure_sqlite, sqlite_uri

# MLflow and SQLAlchemy use deprecated features of each other and of their dependencies.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CREATE_TOGETHER = """
import multiprocessing, os, sys
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
from pathlib import Path
import mlflow.store.tracking.sqlalchemy_store, mlflow.tracking
from labrun.run_dir import RunDir
from labrun.store import Mirror

def mirror(path, together):
    together.wait()
    run = RunDir(Path(path))
    Mirror(run.path.parent).update(run)

fork = multiprocessing.get_context("fork")
together = fork.Barrier(len(sys.argv) - 1)
children = [fork.Process(target=mirror, args=(path, together)) for path in sys.argv[1:]]
for child in children:
    child.start()
for child in children:
    child.join()
sys.exit(max(child.exitcode for child in children))
"""


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory) -> Path:
    """A fresh store; copied, since creating one takes seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    ensure_sqlite(path)
    return path


@pytest.fixture
def mirror(tmp_path, empty_store) -> Mirror:
    folder = tmp_path / "home"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    return Mirror(folder)


def client(home: Path):
    from mlflow import MlflowClient

    return MlflowClient(sqlite_uri(home))


def only_run(home: Path, plugin: str = "toy"):
    found = client(home)
    experiment = found.get_experiment_by_name(plugin)
    (run,) = found.search_runs([experiment.experiment_id])
    return run


def points(home: Path, metric: str, plugin: str = "toy") -> list[tuple[int, float]]:
    history = client(home).get_metric_history(only_run(home, plugin).info.run_id, metric)
    return sorted((point.step, point.value) for point in history)


def test_metrics_and_scores_become_points(mirror, make_run, event):
    run = make_run(event.metrics(1, loss=3.0), event.metrics(2, loss=2.0), event.score(2, 0.5))
    mirror.update(run)
    assert points(mirror.home, "loss") == [(1, 3.0), (2, 2.0)]
    assert points(mirror.home, "test/accuracy") == [(2, 0.5)]


def test_runs_are_flat_with_their_facts_as_params_and_tags(mirror, make_run):
    run = make_run(seed=4, method="momentum", group="table-1")
    mirror.update(run)
    stored = only_run(mirror.home)
    facts = {"plugin": "toy", "method": "momentum", "seed": "4", "group": "table-1"}
    assert facts.items() <= stored.data.params.items()
    assert facts.items() <= stored.data.tags.items()
    assert stored.data.params["trainer.inner.rate"] == "0.5"
    assert stored.data.tags["labrun.id"] == run.id
    assert stored.info.run_name == run.id
    assert stored.info.status == "FINISHED"
    assert "mlflow.parentRunId" not in stored.data.tags


def test_mirroring_twice_changes_nothing(mirror, make_run, event):
    run = make_run(event.metrics(1, loss=3.0), event.score(1, 0.5))
    mirror.update(run)
    first = only_run(mirror.home).info.run_id
    Mirror(mirror.home).update(run)
    assert only_run(mirror.home).info.run_id == first
    assert points(mirror.home, "loss") == [(1, 3.0)]
    assert points(mirror.home, "test/accuracy") == [(1, 0.5)]


def append(run, *events):
    with open(run.path / "events.jsonl", "a") as out:
        out.writelines(json.dumps(event) + "\n" for event in events)


def test_growing_run_gets_only_what_is_new(mirror, make_run, event):
    run = make_run(event.attempt(0), event.metrics(1, loss=3.0), state="queued")
    mirror.update(run)
    assert only_run(mirror.home).info.status == "SCHEDULED"
    append(run, event.metrics(2, loss=2.0), event.metrics(2, reward=1.0), event.score(2, 0.5))
    run.write_status(state="done")
    mirror.update(run)
    assert points(mirror.home, "loss") == [(1, 3.0), (2, 2.0)]
    assert points(mirror.home, "reward") == [(2, 1.0)]
    assert only_run(mirror.home).info.status == "FINISHED"


def test_replayed_points_of_a_resumed_run_are_not_duplicated(mirror, make_run, event):
    steps = (event.metrics(step, loss=float(step)) for step in (1, 2, 3))
    run = make_run(event.attempt(0), *steps, event.score(3, 0.1), state="killed")
    mirror.update(run)
    assert only_run(mirror.home).info.status == "FAILED"
    append(run, event.attempt(1, resumed_from=1), event.metrics(2, loss=20.0))
    mirror.update(run)
    assert points(mirror.home, "loss") == [(1, 1.0), (2, 20.0)]
    assert points(mirror.home, "test/accuracy") == []
    append(run, event.metrics(3, loss=30.0))
    mirror.update(run)
    assert points(mirror.home, "loss") == [(1, 1.0), (2, 20.0), (3, 30.0)]


def test_not_a_number_is_kept(mirror, make_run, event):
    mirror.update(make_run(event.metrics(1, loss=float("nan")), state="diverged"))
    assert only_run(mirror.home).data.tags["state"] == "diverged"
    ((step, value),) = points(mirror.home, "loss")
    assert step == 1
    assert value != value


def test_metric_name_that_the_store_does_not_allow_is_spelt_out(mirror, make_run, event):
    mirror.update(make_run(event.score(1, 0.5, metric="avg@4")))
    assert points(mirror.home, "test/avg_at_4") == [(1, 0.5)]


def test_figures_of_an_ended_run_become_artifacts(mirror, make_run):
    run = make_run()
    (run.artifacts / "curve.png").write_bytes(b"\x89PNG")
    mirror.update(run)
    listed = client(mirror.home).list_artifacts(only_run(mirror.home).info.run_id)
    assert [item.path for item in listed] == ["curve.png"]


def test_store_that_does_not_answer_stops_no_run_and_is_said_once(
    make_run, tmp_path, capsys, monkeypatch
):
    def unreachable(*_, **__):
        raise ConnectionError("nobody there")

    monkeypatch.setattr(store.Mirror, "update", unreachable)
    live = LiveMirror(tmp_path, [make_run(), make_run(seed=1)], period_s=0)
    live.flush()
    live.flush()
    assert capsys.readouterr().err == (
        "lab: results store not updated: nobody there; later: lab reindex\n"
    )


def test_eight_processes_create_a_fresh_store_at_once(make_run, event, tmp_path):
    runs = [make_run(event.metrics(1, loss=float(seed)), seed=seed) for seed in range(8)]
    paths = [str(run.path) for run in runs]
    made = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CREATE_TOGETHER, *paths],
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    found = client(tmp_path / "home")
    experiment = found.get_experiment_by_name("toy")
    stored = found.search_runs([experiment.experiment_id])
    losses = {run.data.params["seed"]: run.data.metrics["loss"] for run in stored}
    assert losses == {str(seed): float(seed) for seed in range(8)}


def contents(home: Path) -> set[tuple[str, str, int, float]]:
    """(run name, metric, step, value) of every live point, read without MLflow."""
    database = sqlite3.connect(home / "mlflow.db")
    rows = database.execute(
        "select runs.name, metrics.key, metrics.step, metrics.value from metrics "
        "join runs using (run_uuid) where runs.lifecycle_stage = 'active'"
    ).fetchall()
    database.close()
    return set(rows)


def test_reindex_sets_a_damaged_store_aside_and_rebuilds_it_equal(swept, home, lab):
    shutil.copytree(swept, home)
    before = contents(home)
    with open(home / "mlflow.db", "r+b") as file:
        file.write(b"damaged!" * 1024)
    for name in ("mlflow.db-wal", "mlflow.db-shm"):
        (home / name).unlink(missing_ok=True)
    rebuilt = lab("reindex")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert "lab: the store was damaged and now lies at" in rebuilt.stderr
    assert rebuilt.stdout == f"lab: 6 runs written to {sqlite_uri(home)}\n"
    (aside,) = home.glob("mlflow.db.damaged-*")
    assert aside.read_bytes()[:8] == b"damaged!"
    assert contents(home) == before
    losses = [row for row in before if row[1] == "loss"]
    assert len(losses) == 6 * 10


def test_a_swept_command_leaves_its_runs_in_the_store(swept):
    expected = {
        (run.id, "loss", step, value)
        for run in run_dir.all_runs(swept)
        for step, value in run.series()["loss"].items()
    }
    assert {row for row in contents(swept) if row[1] == "loss"} == expected
