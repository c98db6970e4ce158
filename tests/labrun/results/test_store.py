import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from labrun.errors import LabError
from labrun.results import store
from labrun.results.store import LiveMirror, Mirror, ensure_sqlite, file, sqlite_uri
from labrun.results.store.names import name_of
from labrun.results.store.reindex import reindex
from labrun.runs import run_dir

# MLflow and SQLAlchemy use deprecated features of each other and of their dependencies.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CREATE_TOGETHER = """
import multiprocessing, os, sys
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
from pathlib import Path
import mlflow.store.tracking.sqlalchemy_store, mlflow.tracking
from labrun.runs.run_dir import RunDir
from labrun.results.store import Mirror

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


def only_run(home: Path):
    found = client(home)
    experiment = found.get_experiment_by_name("labrun")
    (run,) = found.search_runs([experiment.experiment_id])
    return run


def points(home: Path, metric: str) -> list[tuple[int, float]]:
    history = client(home).get_metric_history(only_run(home).info.run_id, metric)
    return sorted((point.step, point.value) for point in history)


def test_metrics_and_scores_become_points(mirror, make_run, event):
    run = make_run(event.metrics(1, loss=3.0), event.metrics(2, loss=2.0), event.score(2, 0.5))
    mirror.update(run)
    assert points(mirror.home, "train/loss") == [(1, 3.0), (2, 2.0)]
    assert points(mirror.home, "eval/test/accuracy") == [(2, 0.5)]


def test_runs_are_flat_with_their_facts_as_params_and_tags(mirror, make_run):
    run = make_run(seed=4, method="momentum", group="table-1")
    mirror.update(run)
    stored = only_run(mirror.home)
    facts = {"plugin": "toy", "method": "momentum", "seed": "4", "group": "table-1"}
    assert facts.items() <= stored.data.params.items()
    assert facts.items() <= stored.data.tags.items()
    assert stored.data.params["trainer.inner.rate"] == "0.5"
    assert stored.data.tags["labrun.id"] == run.id
    assert stored.info.run_name == "momentum seed 4"
    assert stored.info.status == "FINISHED"
    assert "mlflow.parentRunId" not in stored.data.tags


def test_mirroring_twice_changes_nothing(mirror, make_run, event):
    run = make_run(event.metrics(1, loss=3.0), event.score(1, 0.5))
    mirror.update(run)
    first = only_run(mirror.home).info.run_id
    Mirror(mirror.home).update(run)
    assert only_run(mirror.home).info.run_id == first
    assert points(mirror.home, "train/loss") == [(1, 3.0)]
    assert points(mirror.home, "eval/test/accuracy") == [(1, 0.5)]


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
    assert points(mirror.home, "train/loss") == [(1, 3.0), (2, 2.0)]
    assert points(mirror.home, "train/reward") == [(2, 1.0)]
    assert only_run(mirror.home).info.status == "FINISHED"


def test_replayed_points_of_a_resumed_run_are_not_duplicated(mirror, make_run, event):
    steps = (event.metrics(step, loss=float(step)) for step in (1, 2, 3))
    run = make_run(event.attempt(0), *steps, event.score(3, 0.1), state="killed")
    mirror.update(run)
    assert only_run(mirror.home).info.status == "FAILED"
    append(run, event.attempt(1, resumed_from=1), event.metrics(2, loss=20.0))
    mirror.update(run)
    assert points(mirror.home, "train/loss") == [(1, 1.0), (2, 20.0)]
    assert points(mirror.home, "eval/test/accuracy") == []
    append(run, event.metrics(3, loss=30.0))
    mirror.update(run)
    assert points(mirror.home, "train/loss") == [(1, 1.0), (2, 20.0), (3, 30.0)]


def test_not_a_number_is_kept(mirror, make_run, event):
    mirror.update(make_run(event.metrics(1, loss=float("nan")), state="diverged"))
    assert only_run(mirror.home).data.tags["state"] == "diverged"
    ((step, value),) = points(mirror.home, "train/loss")
    assert step == 1
    assert value != value


def test_metric_name_that_the_store_does_not_allow_is_spelt_out(mirror, make_run, event):
    mirror.update(make_run(event.score(1, 0.5, metric="avg@4")))
    assert points(mirror.home, "eval/test/avg_at_4") == [(1, 0.5)]


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


def test_a_store_without_its_package_is_refused_in_one_line(tmp_path, monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(file, "version", missing)
    with pytest.raises(LabError, match="needs the package mlflow, which is not installed; `pip"):
        store.ensure_sqlite(tmp_path / "mlflow.db")


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
    experiment = found.get_experiment_by_name("labrun")
    stored = found.search_runs([experiment.experiment_id])
    losses = {run.data.params["seed"]: run.data.metrics["train/loss"] for run in stored}
    assert losses == {str(seed): float(seed) for seed in range(8)}


def test_others_write_while_the_files_of_a_run_are_read(make_run, event, tmp_path):
    slow, other = make_run(event.metrics(1, loss=0.5)), make_run(event.metrics(1, loss=1), seed=1)
    pipe = slow.artifacts / "completions" / "held_out.jsonl"
    pipe.parent.mkdir()
    os.mkfifo(pipe)  # its reader waits for what is written below
    home = tmp_path / "home"
    ensure_sqlite(home / "mlflow.db")
    reading = threading.Thread(target=Mirror(home).update, args=(slow,))
    reading.start()
    with open(pipe, "w") as lines:
        Mirror(home, busy_s=0.0).update(other)
        lines.write('{"id": 1, "completion": "x"}\n')
    reading.join()
    assert {(key, value) for _, key, _, value in contents(home)} == {
        ("train/loss", 0.5),
        ("train/loss", 1.0),
    }
    (table,) = home.rglob("mlflow-artifacts/**/held_out.json")
    assert json.loads(table.read_text())["data"] == [[1, "x"]]


def contents(home: Path) -> set[tuple[str, str, int, float]]:
    """(run id, metric, step, value) of every live point, read without MLflow."""
    database = sqlite3.connect(home / "mlflow.db")
    rows = database.execute(
        "select ids.value, metrics.key, metrics.step, metrics.value from metrics "
        "join runs using (run_uuid) join tags ids on ids.run_uuid = runs.run_uuid "
        "and ids.key = 'labrun.id' where runs.lifecycle_stage = 'active'"
    ).fetchall()
    database.close()
    return set(rows)


def test_reindex_sets_a_damaged_store_aside_and_rebuilds_it_equal(swept, home, lab_here):
    shutil.copytree(swept, home)
    before = contents(home)
    with open(home / "mlflow.db", "r+b") as file:
        file.write(b"damaged!" * 1024)
    for name in ("mlflow.db-wal", "mlflow.db-shm"):
        (home / name).unlink(missing_ok=True)
    rebuilt = lab_here("reindex")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert "lab: the store was damaged and now lies at" in rebuilt.stderr
    assert rebuilt.stdout == f"lab: 6 runs written to {sqlite_uri(home)}\n"
    (aside,) = home.glob("mlflow.db.damaged-*")
    assert aside.read_bytes()[:8] == b"damaged!"
    assert contents(home) == before
    losses = [row for row in before if row[1] == "train/loss"]
    assert len(losses) == 6 * 10


def test_without_a_home_for_its_user_the_store_is_made_all_the_same(
    make_run, event, lab_here, tmp_path, monkeypatch
):
    home = make_run(event.metrics(1, loss=1.0)).path.parent
    users = file.cache_folder(home)
    (tmp_path / "file").write_text("")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert file.cache_folder(home) == home / ".cache"
    for empty in users.glob("mlflow-*.db"):
        shutil.copy(empty, home / ".cache")
    assert lab_here("reindex").returncode == 0
    assert len(contents(home)) == 1


@pytest.mark.parametrize("put", [os.mkdir, os.mkfifo])
def test_reindex_sets_aside_what_is_no_file_in_the_store_s_place(make_run, event, lab_here, put):
    home = make_run(event.metrics(1, loss=1.0)).path.parent
    put(home / "mlflow.db")
    rebuilt = lab_here("reindex")
    assert rebuilt.stdout == f"lab: 1 runs written to {sqlite_uri(home)}\n"
    assert len(contents(home)) == 1
    (aside,) = home.glob("mlflow.db.damaged-*")
    assert rebuilt.stderr == f"lab: the store was damaged and now lies at {aside}\n"


def test_a_swept_command_leaves_its_runs_in_the_store(swept):
    expected = {
        (run.id, "train/loss", step, value)
        for run in run_dir.all_runs(swept)
        for step, value in run.series()["loss"].items()
    }
    assert {row for row in contents(swept) if row[1] == "train/loss"} == expected


def infinite_tags(home: Path) -> dict[str, str]:
    tags = only_run(home).data.tags
    return {key: value for key, value in tags.items() if key.startswith("labrun.infinite")}


def test_infinite_values_are_stored_as_nan_and_named_in_a_tag(mirror, make_run, event):
    steps = [(1, float("inf")), (2, 3.0), (3, float("-inf"))]
    mirror.update(make_run(*(event.metrics(step, loss=value) for step, value in steps)))
    stored = points(mirror.home, "train/loss")
    assert [step for step, value in stored if value != value] == [1, 3]
    assert [value for step, value in stored if step == 2] == [3.0]
    assert infinite_tags(mirror.home) == {
        "labrun.infinite.train/loss": "inf at step 1, -inf at step 3",
    }


def test_finite_values_leave_no_tag(mirror, make_run, event):
    mirror.update(make_run(event.metrics(1, loss=1.7e308)))
    assert points(mirror.home, "train/loss") == [(1, 1.7e308)]
    assert infinite_tags(mirror.home) == {}


def test_names_that_mlflow_refuses_are_stored_beside_the_others(mirror, make_run, event):
    names = ["/abs", "a//b", "..", "", "x" * 300, "x" * 299, "a+b", "a_b", "精度", "loss"]
    run = make_run(event.metrics(1, **{name: float(i) for i, name in enumerate(names)}))
    mirror.update(run)
    stored = only_run(mirror.home).data
    read = {name_of(key, stored.tags): value for key, value in stored.metrics.items()}
    assert read == {f"train/{name}": float(i) for i, name in enumerate(names)}


def test_settings_of_any_name_and_length_are_stored(mirror, make_run):
    settings = {"/a//b": 1, "a+b": 2, "a_b": 3, "k" * 400: 4, "text": "x" * 9000, "empty": ""}
    mirror.update(make_run(settings=settings, method="m" * 600))
    data = only_run(mirror.home).data
    read = {name_of(key, data.tags): value for key, value in data.params.items()}
    assert [read[f"trainer.{key}"] for key in settings][:4] == ["1", "2", "3", "4"]
    assert len(read["trainer.text"]) == 500
    assert read["trainer.empty"] == ""


def test_a_plugin_s_name_leads_no_artifact_out_of_the_home(mirror, make_run):
    run = make_run(plugin="../../out")
    (run.artifacts / "a.png").write_bytes(b"")
    mirror.update(run)
    assert run.path.parent == mirror.home
    stored = only_run(mirror.home)
    assert stored.info.artifact_uri.startswith((mirror.home / "mlflow-artifacts").as_uri())


def test_pictures_of_one_name_in_two_folders_are_both_kept(mirror, make_run):
    run = make_run()
    for folder in ("a", "b"):
        (run.artifacts / folder).mkdir()
        (run.artifacts / folder / "plot.png").write_bytes(b"")
    mirror.update(run)
    run_id = only_run(mirror.home).info.run_id
    listed = [client(mirror.home).list_artifacts(run_id, folder)[0].path for folder in ("a", "b")]
    assert listed == ["a/plot.png", "b/plot.png"]


def test_a_run_that_cannot_be_stored_is_named_and_harms_no_other(mirror, make_run, event, capsys):
    bad = make_run({"time": 1.0, "kind": "metrics", "step": 1, "metrics": {"loss": "text"}})
    good = make_run(event.metrics(1, loss=2.0), seed=1)
    live = LiveMirror(mirror.home, [bad, good], period_s=0)
    live.flush()
    live.close()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"lab: results store not updated for run {bad.id}: ")
    assert line.endswith("; later: lab reindex")
    assert ("train/loss", 1, 2.0) in {row[1:] for row in contents(mirror.home) if row[0] == good.id}


def test_a_server_that_is_down_stops_no_other_store(mirror, make_run, event, capsys):
    uri = "http://127.0.0.1:9"
    runs = [make_run(seed=s, uri=uri) for s in (0, 1)] + [make_run(event.metrics(1, loss=2.0))]
    live = LiveMirror(mirror.home, runs, period_s=0)
    live.flush()
    live.flush()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lab: results store not updated: ")
    assert line.endswith(f"; later: lab reindex --uri {uri}")
    assert points(mirror.home, "train/loss") == [(1, 2.0)]


def test_reindex_leaves_a_bad_run_out_and_goes_on(mirror, make_run, event):
    bad = make_run({"time": 1.0, "kind": "metrics", "step": 2**70, "metrics": {"loss": 1.0}})
    edited = make_run(seed=2)
    (edited.path / "spec.json").write_text("{}")
    good = make_run(event.metrics(1, loss=2.0), seed=1)
    done = reindex(mirror)
    assert done.written == 1
    assert set(done.left_out) == {bad.id, edited.id}
    assert all(reason and "\n" not in reason for reason in done.left_out.values())
    assert ("train/loss", 1, 2.0) in {row[1:] for row in contents(mirror.home) if row[0] == good.id}


def test_reindex_removes_a_run_whose_directory_is_gone_and_no_other_s(mirror, make_run, tmp_path):
    kept, gone, damaged = make_run(), make_run(seed=1), make_run(seed=2)
    others = make_run(seed=3, root=tmp_path / "others")
    for run in (kept, gone, damaged, others):
        mirror.update(run)
    shutil.rmtree(gone.path)
    shutil.rmtree(others.path)
    (damaged.path / "spec.json").write_text("{}")
    done = reindex(mirror)
    assert (done.written, done.removed, set(done.left_out)) == (1, [gone.id], {damaged.id})
    stored = client(mirror.home)
    experiment = stored.get_experiment_by_name("labrun")
    names = {run.data.tags["labrun.id"] for run in stored.search_runs([experiment.experiment_id])}
    assert names == {kept.id, damaged.id, others.id}


def test_reindex_into_a_shared_store_leaves_runs_of_other_machines(mirror, make_run, tmp_path):
    shared = Mirror(mirror.home, sqlite_uri(mirror.home))
    mine, theirs = make_run(), make_run(seed=1)
    for run in (mine, theirs):
        shared.update(run)
    (found,) = [
        run.info.run_id
        for run in shared.client().search_runs(["1"])
        if run.data.tags["labrun.id"] == theirs.id
    ]
    shared.client().set_tag(found, "labrun.host", "another machine")
    for run in (mine, theirs):
        shutil.rmtree(run.path)
    assert reindex(shared).removed == [mine.id]


def test_reindex_says_in_one_line_that_a_server_is_down(lab_here, make_run):
    make_run()
    refused = lab_here("reindex", "--uri", "http://127.0.0.1:9")
    assert refused.returncode == 2
    assert refused.stderr.startswith("lab: the results store http://127.0.0.1:9 cannot be used: ")
    assert refused.stderr.count("\n") == 1


def test_reindex_refuses_an_address_with_a_password(lab_here, make_run):
    make_run()
    refused = lab_here("reindex", "--uri", "http://me:hunter2@127.0.0.1:9")
    assert refused.returncode == 2
    assert refused.stderr.startswith(
        "lab: --uri=http://***@127.0.0.1:9: the address holds a secret"
    )
    assert refused.stderr.count("\n") == 1
    assert "hunter2" not in refused.stderr


def test_reindex_says_which_runs_are_gone(lab_here, mirror, make_run):
    kept, gone = make_run(), make_run(seed=1)
    for run in (kept, gone):
        mirror.update(run)
    shutil.rmtree(gone.path)
    again = lab_here("reindex")
    assert again.stdout.splitlines() == [
        f"lab: removed from the store, its directory is gone: {gone.id}",
        f"lab: 1 runs written to {sqlite_uri(mirror.home)}",
    ]
