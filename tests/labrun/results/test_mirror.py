"""The mirror catches up by itself, and holds each point once."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from labrun.results.store import LiveMirror, Mirror, catch_up, ensure_sqlite
from labrun.results.store.database import KNOWN_TABLES, Database
from labrun.results.store.pauses import Pauses
from labrun.runs import run_index
from labrun.runs.run_dir import RunDir

# MLflow and SQLAlchemy use deprecated features of each other and of their dependencies.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def mirror(tmp_path) -> Mirror:
    ensure_sqlite(tmp_path / "home" / "mlflow.db")
    return Mirror(tmp_path / "home", busy_s=0.1)


def ask(home: Path, words: str) -> list[tuple]:
    database = sqlite3.connect(home / "mlflow.db")
    rows = database.execute(words).fetchall()
    database.close()
    return rows


def points(home: Path) -> list[tuple[str, str, int, float]]:
    """(run, metric, step, value) of every point of a live run."""
    words = (
        "select runs.name, metrics.key, step, value from metrics join runs using (run_uuid) "
        "join experiments e using (experiment_id) where runs.lifecycle_stage = 'active' "
        "and e.lifecycle_stage = 'active' order by 1, 2, 3"
    )
    return ask(home, words)


def losses(home: Path) -> list[tuple[int, float]]:
    return [row[2:] for row in points(home) if row[1] == "train/loss"]


def append(run: RunDir, *events) -> None:
    with open(run.path / "events.jsonl", "a") as out:
        out.writelines(json.dumps(event) + "\n" for event in events)


def test_a_fresh_store_has_the_tables_that_are_written_here(mirror):
    assert ask(mirror.home, "select version_num from alembic_version") == [(KNOWN_TABLES,)]


def test_mlflow_reads_what_was_written_beside_it(mirror, make_run, event):
    run = make_run(event.metrics(1, loss=3.0), event.metrics(2, loss=float("nan")))
    run.write_status(ended=12.5)
    mirror.update(run)
    (stored,) = mirror.client().search_runs(["1"], "tags.state = 'done'")
    assert (stored.info.run_name, stored.info.status) == ("plain seed 0", "FINISHED")
    assert stored.info.end_time == 12500
    assert stored.data.metrics["train/loss"] != stored.data.metrics["train/loss"]
    history = mirror.client().get_metric_history(stored.info.run_id, "train/loss")
    assert [(p.step, p.timestamp) for p in history] == [(1, 3000), (2, 4000)]
    mirror.client().set_tag(stored.info.run_id, "mlflow.note.content", "mine")
    mirror.update(run, afresh=True)
    (again,) = mirror.client().search_runs(["1"])
    assert again.info.run_id == stored.info.run_id
    assert again.data.tags["mlflow.note.content"] == "mine"


def test_a_look_writes_what_a_killed_command_left(mirror, make_run, event):
    half, absent = make_run(event.attempt(0), event.metrics(1, loss=1.0)), make_run(seed=1)
    mirror.update(half)
    append(half, event.metrics(2, loss=2.0))
    catch_up(mirror.home)
    assert losses(mirror.home) == [(1, 1.0), (2, 2.0)]
    ids = {one for (one,) in ask(mirror.home, "select value from tags where key = 'labrun.id'")}
    assert ids == {half.id, absent.id}


def put_directory(events: Path) -> None:
    events.unlink()
    events.mkdir()


def put_endless_time(events: Path) -> None:
    events.write_text('{"time": 1e400, "kind": "metrics", "step": 1, "metrics": {"loss": 1.0}}\n')


def put_pipe(events: Path) -> None:
    events.unlink()
    os.mkfifo(events)


@pytest.mark.parametrize("damage", [put_directory, put_endless_time, put_pipe])
def test_a_run_that_cannot_be_stored_hides_no_later_one_from_a_look(
    mirror, make_run, event, damage
):
    bad, *_ = [make_run(event.metrics(1, loss=1.0), seed=seed) for seed in (0, 1)]
    damage(bad.path / "events.jsonl")
    catch_up(mirror.home)
    assert losses(mirror.home) == [(1, 1.0)]


def test_the_end_of_a_run_without_events_is_stored(mirror, make_run):
    run = make_run(state="queued")
    (run.path / "events.jsonl").unlink()
    live = LiveMirror(mirror.home, [run], period_s=0)
    live.flush()
    run.write_status(state="refused")
    live.flush()
    assert ask(mirror.home, "select value from tags where key = 'state'") == [("refused",)]
    run.write_status(state="failed")
    catch_up(mirror.home)
    assert ask(mirror.home, "select value from tags where key = 'state'") == [("failed",)]


def test_lab_runs_catches_up(lab_here, mirror, make_run, event):
    make_run(event.metrics(1, loss=1.0))
    assert lab_here("runs").returncode == 0
    assert losses(mirror.home) == [(1, 1.0)]


def test_a_look_ends_in_time_and_the_next_one_goes_on(mirror, make_run, event):
    runs = [make_run(event.metrics(1, loss=1.0), seed=seed) for seed in range(6)]
    for _ in runs:
        catch_up(mirror.home, seconds=0.0)
    assert len(losses(mirror.home)) == len(runs)


def test_a_look_says_nothing_of_a_store_that_is_locked(mirror, make_run, event, capsys):
    make_run(event.metrics(1, loss=1.0))
    holder = sqlite3.connect(mirror.home / "mlflow.db")
    holder.execute("begin immediate")
    catch_up(mirror.home)
    assert capsys.readouterr().err == ""
    holder.rollback()
    holder.close()
    catch_up(mirror.home)
    assert losses(mirror.home) == [(1, 1.0)]


def test_a_lock_that_goes_is_survived_by_every_run_of_a_command(mirror, make_run, event, capsys):
    runs = [make_run(event.metrics(1, loss=1.0), seed=seed) for seed in range(4)]
    live = LiveMirror(mirror.home, runs, period_s=0)
    for one in live._mirrors.values():
        one.busy_s = 0.1
    holder = sqlite3.connect(mirror.home / "mlflow.db")
    holder.execute("begin immediate")
    live.flush()
    live.flush()
    holder.rollback()
    holder.close()
    live.close()
    assert len(losses(mirror.home)) == 4
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "lab: results store not updated: database is locked; later: lab reindex",
        "lab: results store updated again",
    ]


@pytest.mark.parametrize("how", ["deleted", "moved", "alone"])
def test_a_store_that_is_gone_is_made_again_with_every_run(mirror, make_run, event, how):
    runs = [make_run(event.metrics(1, loss=1.0), seed=seed) for seed in range(3)]
    live = LiveMirror(mirror.home, runs, period_s=0)
    live.flush()
    if how == "moved":
        (mirror.home / "mlflow.db").rename(mirror.home / "elsewhere.db")
    else:
        beside = [] if how == "alone" else list(mirror.home.glob("mlflow.db-*"))
        for path in (mirror.home / "mlflow.db", *beside):
            path.unlink()
    live.flush()
    assert len(losses(mirror.home)) == 3


def test_a_damaged_store_is_put_aside_in_one_line_and_written_anew(mirror, make_run, event, capsys):
    runs = [make_run(event.metrics(1, loss=1.0), seed=seed) for seed in range(3)]
    live = LiveMirror(mirror.home, runs, period_s=0)
    live.flush()
    (mirror.home / "mlflow.db").write_bytes(b"damaged!" * 1024)
    live.flush()
    live.close()
    assert len(losses(mirror.home)) == 3
    (line,) = capsys.readouterr().err.splitlines()
    (aside,) = mirror.home.glob("mlflow.db.damaged-*")
    assert line == f"lab: the store was damaged and now lies at {aside}; it is written anew"


def test_pages_damaged_behind_the_first_are_noticed(mirror, make_run, event):
    runs = [make_run(event.metrics(1, loss=1.0), seed=seed) for seed in range(3)]
    for run in runs:
        mirror.update(run)
    with open(mirror.home / "mlflow.db", "r+b") as file:
        file.seek(4096)
        file.write(b"damaged!" * 20000)
    live = LiveMirror(mirror.home, runs, period_s=0)
    live.flush()
    live.close()
    assert len(losses(mirror.home)) == 3


def test_a_deleted_experiment_is_brought_back_with_its_runs_once(mirror, make_run, event):
    run, other = make_run(event.metrics(1, loss=1.0)), make_run(event.metrics(1, loss=2.0), seed=1)
    for one in (run, other):
        mirror.update(one)
    experiment = mirror.client().get_experiment_by_name("labrun").experiment_id
    mirror.client().delete_experiment(experiment)
    catch_up(mirror.home)
    assert [loss for _, loss in losses(mirror.home)] == sorted([1.0, 2.0])
    assert len(ask(mirror.home, "select * from runs")) == 2


def test_a_run_deleted_in_mlflow_comes_back_under_its_id(mirror, make_run, event):
    mirror.update(make_run(event.metrics(1, loss=1.0)))
    ((stored,),) = ask(mirror.home, "select run_uuid from runs")
    mirror.client().delete_run(stored)
    catch_up(mirror.home)
    assert losses(mirror.home) == [(1, 1.0)]
    assert ask(mirror.home, "select run_uuid from runs") == [(stored,)]


def test_steps_out_of_order_are_kept_and_a_repeated_one_is_there_once(mirror, make_run, event):
    run = make_run(event.metrics(5, loss=5.0), event.metrics(2, loss=2.0), event.score(5, 0.5))
    mirror.update(run)
    append(run, event.metrics(3, loss=3.0), event.metrics(1, loss=1.0), event.metrics(5, loss=5.5))
    append(run, event.score(5, 0.5) | {"time": 99.0})
    mirror.update(run)
    assert losses(mirror.home) == [(1, 1.0), (2, 2.0), (3, 3.0), (5, 5.5)]
    assert [row[2:] for row in points(mirror.home) if row[1] == "eval/test/accuracy"] == [(5, 0.5)]
    latest = ask(mirror.home, "select value, step from latest_metrics where key = 'train/loss'")
    assert latest == [(5.5, 5)]


def test_names_that_look_alike_are_told_apart(mirror, make_run, event):
    names = ["a@b", "a_at_b", "pass@4", "pass_at_4", "../x", "", "/abs", "n" * 300, "n" * 301]
    run = make_run(event.metrics(1, **{name: float(i) for i, name in enumerate(names)}))
    mirror.update(run)
    assert sorted(row[3] for row in points(mirror.home)) == [float(i) for i in range(len(names))]


def test_points_of_an_attempt_that_was_killed_while_it_was_mirrored_are_not_doubled(
    mirror, make_run, event
):
    first = [event.metrics(step, loss=float(step)) for step in range(1, 7)]
    run = make_run(event.attempt(0), *first, state="killed")
    mirror.update(run)
    append(run, event.attempt(1, resumed_from=4))
    again = [event.metrics(step, loss=10.0 * step) | {"time": 50.0 + step} for step in (5, 6)]
    append(run, *again, event.attempt(2, resumed_from=5), event.metrics(6, loss=600.0))
    mirror.update(run)
    steps = [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0), (5, 50.0), (6, 600.0)]
    assert losses(mirror.home) == steps
    mirror.update(run, afresh=True)
    assert losses(mirror.home) == steps


def test_a_run_begun_anew_keeps_no_point_of_before(mirror, make_run, event):
    run = make_run(event.attempt(0), event.metrics(1, loss=1.0), event.metrics(2, loss=2.0))
    mirror.update(run)
    append(run, event.attempt(1), event.metrics(1, loss=5.0))
    mirror.update(run)
    assert losses(mirror.home) == [(1, 5.0)]
    assert ask(mirror.home, "select step from latest_metrics where key = 'train/loss'") == [(1,)]


def test_infinite_steps_that_were_replayed_leave_the_tag(mirror, make_run, event):
    run = make_run(event.attempt(0), event.metrics(1, loss=float("inf")), state="killed")
    (run.path / "events.jsonl").write_text(
        (run.path / "events.jsonl").read_text().replace("Infinity", '"Infinity"')
    )
    mirror.update(run)
    tags = "select value from tags where key = 'labrun.infinite.train/loss'"
    assert ask(mirror.home, tags) == [("inf at step 1",)]
    append(run, event.attempt(1), event.metrics(1, loss=1.0))
    mirror.update(run)
    assert ask(mirror.home, tags) == []


def test_events_that_were_cut_and_written_anew_are_read_from_the_beginning(mirror, make_run, event):
    run = make_run(event.metrics(1, loss=1.0), event.metrics(2, loss=2.0))
    mirror.update(run)
    (run.path / "events.jsonl").write_text("")
    append(run, *(event.metrics(step, loss=9.0) for step in range(1, 9)))
    mirror.update(run)
    assert losses(mirror.home) == [(step, 9.0) for step in range(1, 9)]


def test_a_process_killed_while_it_writes_leaves_each_point_once(mirror, make_run, event):
    run = make_run(*(event.metrics(step, loss=1.0) for step in range(60_000)))
    code = (
        "import sys, pathlib; from labrun.results.store import Mirror\n"
        "from labrun.runs.run_dir import RunDir\n"
        "r = RunDir(pathlib.Path(sys.argv[1])); print(flush=True); Mirror(r.path.parent).update(r)"
    )
    words = [sys.executable, "-c", code, str(run.path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.3)
        writer.kill()
    mirror.update(run)
    assert losses(mirror.home) == [(step, 1.0) for step in range(60_000)]


def test_a_look_at_nothing_new_reads_no_event(mirror, make_run, event):
    run = make_run(*(event.metrics(step, loss=1.0) for step in range(20_000)), state="running")
    mirror.update(run)
    began = time.process_time()
    for _ in range(5):
        mirror.update(run)
    assert (time.process_time() - began) / 5 < 0.1


def test_reindex_twice_lets_the_file_not_grow(mirror, make_run, event, lab_here):
    for seed in range(20):
        make_run(*(event.metrics(step, loss=1.0) for step in range(50)), seed=seed)
    sizes = []
    for _ in range(3):
        assert lab_here("reindex").returncode == 0
        sizes.append((mirror.home / "mlflow.db").stat().st_size)
    assert sizes[2] <= 1.2 * sizes[0]
    assert ask(mirror.home, "select count(*) from runs") == [(20,)]


def test_reindex_purges_copies_that_earlier_versions_deleted(mirror, make_run, event):
    run = make_run(event.metrics(1, loss=1.0))
    mirror.update(run)
    copies = "insert into runs select '{0}', name, source_type, source_name, entry_point_name, "
    copies += "user_id, status, start_time, end_time, source_version, 'deleted', artifact_uri, "
    copies += "experiment_id, 1 from runs limit 1"
    database = sqlite3.connect(mirror.home / "mlflow.db")
    for name in ("old1", "old2"):
        database.execute(copies.format(name))
        database.execute(f"insert into tags values ('labrun.id', '{run.id}', '{name}')")
    database.commit()
    database.close()
    mirror.update(run, afresh=True)
    assert len(ask(mirror.home, "select * from runs")) == 1
    assert len(ask(mirror.home, "select * from tags where key = 'labrun.id'")) == 1


def test_a_moved_home_says_where_its_runs_lie_now(mirror, make_run, event, tmp_path):
    mirror.update(make_run(event.metrics(1, loss=1.0)))
    shutil.move(mirror.home, tmp_path / "new")
    catch_up(tmp_path / "new")
    ((folder,),) = ask(tmp_path / "new", "select value from tags where key = 'labrun.directory'")
    assert Path(folder).parent == tmp_path / "new"


def test_tables_of_another_version_are_left_to_mlflow(mirror):
    database = sqlite3.connect(mirror.home / "mlflow.db")
    database.execute("update alembic_version set version_num = 'another'")
    database.commit()
    database.close()
    rows = Database(mirror.home / "mlflow.db")
    assert not rows.is_known
    rows.close()


def test_a_full_disk_is_one_line_and_the_run_is_written_later(
    mirror, make_run, event, capsys, monkeypatch
):
    run = make_run(event.metrics(1, loss=1.0))
    opened = Database.__init__

    def full(self, *words, **named):
        opened(self, *words, **named)
        self._database.execute("pragma max_page_count=1")

    live = LiveMirror(mirror.home, [run], period_s=0)
    with monkeypatch.context() as patch:
        patch.setattr(Database, "__init__", full)
        append(run, *(event.metrics(step, loss=1.0) for step in range(2, 5000)))
        live.flush()
    (line,) = capsys.readouterr().err.splitlines()
    assert line == ("lab: results store not updated: database or disk is full; later: lab reindex")
    live.close()
    assert len(losses(mirror.home)) == 4999


def test_pauses_double_and_end_with_the_first_success():
    pauses = Pauses(first_s=10.0)
    assert not pauses.holds("store")
    assert [pauses.failed("store") for _ in range(4)] == [True, False, False, False]
    assert pauses._length == {"store": 60.0}
    assert pauses.holds("store")
    assert not pauses.holds("run")
    assert pauses.worked("store")
    assert not pauses.holds("store")
    assert not pauses.worked("store")


def test_the_index_is_no_truth(make_run, tmp_path):
    runs = [make_run(seed=seed, group=f"g{seed % 2}") for seed in range(20)]
    home = tmp_path / "home"
    before = run_index.entries(home)
    assert [entry.run.id for entry in before] == [run.id for run in runs]
    assert (home / run_index.FILE).exists()
    runs[3].write_status(state="failed", step=7)
    shutil.rmtree(runs[4].path)
    now = {entry.run.id: (entry.state, entry.step) for entry in run_index.entries(home)}
    assert now[runs[3].id] == ("failed", 7)
    assert runs[4].id not in now
    assert run_index.members("g1", home) == runs[1::2]
    for text in ("", "[]", '{"version": 3, "runs": {"x": [1]}}', "\0"):
        (home / run_index.FILE).write_text(text)
        assert len(run_index.entries(home)) == 19
