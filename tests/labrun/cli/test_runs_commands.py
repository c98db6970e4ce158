"""`lab runs`: lists, tags, notes, names, archive, delete."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from labrun.results.store import Mirror, ensure_sqlite
from labrun.runs import notes, run_dir


@pytest.fixture
def runs(home, make_run, event):
    return [
        make_run(event.metrics(1, loss=0.5), event.score(3, value), seed=seed, root=home)
        for seed, value in enumerate((0.2, 0.9))
    ]


def test_a_list_shows_the_keys_that_were_asked_for(lab_here, runs):
    shown = lab_here("runs", "--filter", "test/accuracy>0.1", "--sort", "-test/accuracy")
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert lines[0] == ["run", "state", "step", "group", "created", "test/accuracy"]
    assert [(line[0], line[-1]) for line in lines[1:]] == [(runs[1].id, "0.9"), (runs[0].id, "0.2")]


def test_a_filter_that_leaves_no_run_says_of_how_many(lab_here, runs):
    assert lab_here("runs", "--filter", "seed=7").stdout == "none of the 2 runs is meant\n"


def test_tags_come_and_go_by_their_signs(lab_here, runs):
    done = lab_here("runs", "tag", runs[0].id, "+good", "+rehearsal", "-bad")
    assert (done.returncode, done.stdout) == (0, f"{runs[0].id}: good, rehearsal\n")
    lab_here("runs", "tag", "--filter", "tag=good", "-rehearsal", "+x")
    assert notes.read(runs[0].path).tags == ("good", "x")
    assert notes.read(runs[1].path).tags == ()
    assert "good,x" in lab_here("runs").stdout


def test_a_tag_without_a_run_or_a_run_without_a_tag_is_refused(lab_here, runs):
    assert lab_here("runs", "tag", "+x").stderr == (
        "lab: name the runs, `last`, --group NAME or --filter WORDS\n"
    )
    assert "no tag named" in lab_here("runs", "tag", runs[0].id).stderr


def test_a_note_and_a_name_are_shown(lab_here, runs):
    lab_here("runs", "rename", runs[0].id, "my best")
    lab_here("runs", "note", "my best", "-5 is too low")
    assert lab_here("runs", "note", "my best").stdout == "-5 is too low\n"
    lab_here("runs", "note", "my best", "rate too high")
    assert lab_here("runs", "note", "my best").stdout == "rate too high\n"
    shown = lab_here("runs", "show", "my best").stdout
    assert "name: my best\n" in shown
    assert "note: rate too high\n" in shown
    assert "is named 'my best' already" in lab_here("runs", "rename", runs[1].id, "my best").stderr
    lab_here("runs", "rename", "my best", "")
    assert "no run 'my best'" in lab_here("runs", "show", "my best").stderr


def test_archived_runs_are_hidden_until_asked_for(lab_here, runs):
    lab_here("runs", "archive", runs[0].id)
    hidden = lab_here("runs").stdout
    assert runs[0].id not in hidden
    assert "1 archived run is hidden; --all shows all" in hidden
    assert runs[0].id in lab_here("runs", "--all").stdout
    assert runs[0].id in lab_here("runs", "--filter", "archived=true").stdout
    lab_here("runs", "archive", "--undo", "--filter", "archived=true")
    assert runs[0].id in lab_here("runs").stdout


def test_notes_change_neither_events_nor_state(lab_here, runs):
    before = {p.name: p.read_bytes() for p in runs[0].path.iterdir() if p.is_file()}
    lab_here("runs", "tag", runs[0].id, "+a")
    lab_here("runs", "archive", runs[0].id)
    after = {p.name: p.read_bytes() for p in runs[0].path.iterdir() if p.is_file()}
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) <= {"notes.json", ".notes.lock", "mlflow.json"}


def ids_in_store(home):
    with sqlite3.connect(home / "mlflow.db") as store:
        rows = store.execute("select value from tags where key = 'labrun.id'").fetchall()
    store.close()
    return sorted(value for (value,) in rows)


def test_a_deleted_run_is_gone_from_the_disk_and_the_store(lab_here, runs, home):
    (runs[0].artifacts / "figure.png").write_bytes(b"png")
    mirror = Mirror(home)
    for run in runs:
        mirror.update(run)
    assert ids_in_store(home) == sorted(run.id for run in runs)
    assert len(list((home / "mlflow-artifacts").rglob("figure.png"))) == 1
    done = lab_here("runs", "delete", runs[0].id, "--yes")
    assert (done.returncode, done.stdout) == (0, f"deleted 1 run: {runs[0].id}\n")
    assert run_dir.all_runs(home) == [runs[1]]
    assert list(home.glob(".deleted*")) == []
    assert ids_in_store(home) == [runs[1].id]
    assert list((home / "mlflow-artifacts").rglob("figure.png")) == []


def test_the_files_of_a_deleted_run_go_when_none_of_them_is_open_any_more(
    lab_here, runs, monkeypatch
):
    """A network file system keeps a file that is open, and so its folder."""
    open_then: list[str] = []
    rmtree = shutil.rmtree

    def watched(path, **words):
        links = Path("/proc/self/fd").iterdir()
        named = [os.readlink(link) for link in links if link.is_symlink()]
        open_then.extend(name for name in named if name.startswith(f"{path}/"))
        rmtree(path, **words)

    monkeypatch.setattr(shutil, "rmtree", watched)
    ids = [run.id for run in runs]
    assert lab_here("runs", "delete", *ids, "--yes").returncode == 0
    assert open_then == []
    assert not any(run.path.exists() for run in runs)


def test_a_delete_says_that_a_store_of_another_mlflow_still_lists_the_run(lab_here, runs, home):
    ensure_sqlite(home / "mlflow.db")
    with closing(sqlite3.connect(home / "mlflow.db")) as store, store:
        store.execute("update alembic_version set version_num = 'abc'")
    done = lab_here("runs", "delete", runs[0].id, "--yes")
    assert f"the results store {home}/mlflow.db is of another version of MLflow" in done.stderr
    assert "; it still lists what was deleted; later: lab reindex" in done.stderr
    assert not runs[0].path.exists()


def test_a_delete_asks_and_where_it_cannot_nothing_happens(lab_here, runs):
    done = lab_here("runs", "delete", "--group", "g")
    assert done.returncode == 2
    assert "delete 2 runs for good" in done.stderr
    assert "say --yes" in done.stderr
    assert all(run.path.exists() for run in runs)


def test_a_run_under_way_is_never_deleted(lab_here, make_run, home, runs):
    import socket

    from labrun.system import processes

    me = {"host": socket.gethostname(), "pid": os.getpid(), "process": processes.me()}
    live = make_run(state="running", seed=5, root=home)
    live.write_status(**me)
    waiting = make_run(state="queued", seed=6, root=home)
    waiting.write_status(**me)
    done = lab_here("runs", "delete", "--group", "g", "--yes")
    assert done.returncode == 2
    assert f"queued or running and not deleted: {live.id}, {waiting.id}" in done.stderr
    assert all(run.path.exists() for run in [*runs, live, waiting])


def test_a_run_in_other_hands_is_not_deleted(lab_here, runs):
    claim = runs[0].claim()
    try:
        done = lab_here("runs", "delete", runs[0].id, "--yes")
    finally:
        os.close(claim)
    assert done.returncode == 2
    assert "is in the hands of another `lab` process" in done.stderr
    assert runs[0].path.exists()


def test_an_export_leaves_archived_and_damaged_runs_out(lab_here, runs, make_run, event, home):
    notes.change(runs[0].path, archived=True)
    damaged = make_run(event.score(3, 0.1), seed=4, root=home)
    (damaged.path / "notes.json").write_text("[]")
    out = home / "all.csv"
    done = lab_here("runs", "export", "--out", str(out))
    assert done.stdout == f"1 row of 1 run written to {out}\n"
    assert f"left out, damaged: {damaged.id}" in done.stderr
    lines = out.read_text().splitlines()
    assert lines[1].startswith(runs[1].id)
    done = lab_here("runs", "export", "--all", "--series", "--filter", "seed=0", "--out", str(out))
    assert done.stdout == f"1 row of 1 run written to {out}\n"
    assert lab_here("runs", "export", "--metric", "loss").stderr == (
        "lab: --metric goes with --series\n"
    )


def test_a_diff_is_printed_by_parts(lab_here, runs):
    lines = lab_here("runs", "diff", runs[0].id, runs[1].id).stdout.splitlines()
    assert lines == [
        f"A  {runs[0].id}",
        f"B  {runs[1].id}",
        "settings  A  B",
        "  seed    0  1",
        "provenance: no difference",
        "scores           A    B    B - A",
        "  test/accuracy  0.2  0.9  +0.7",
    ]
