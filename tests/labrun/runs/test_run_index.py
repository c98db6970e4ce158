"""What the lists of runs show."""

import os
import shutil
import socket

from labrun.runs import index_file, notes, run_index
from labrun.system import processes

HERE = socket.gethostname()


def states(home):
    return {entry.id: entry.state for entry in run_index.entries(home)}


def test_a_run_that_the_index_knows_is_killed_once_its_process_is_gone(make_run, tmp_path):
    home = tmp_path / "home"
    runs = [make_run(seed=seed, state="running") for seed in range(index_file.WORTH_WRITING)]
    for run in runs:
        run.write_status(process=processes.me(), pid=os.getpid(), host=HERE, step=3)
    assert set(states(home).values()) == {"running"}
    assert (home / run_index.FILE).exists()
    text = (home / run_index.FILE).read_text()
    (home / run_index.FILE).write_text(text.replace(processes.me(), "1@1@gone"))
    for run in runs[1:]:
        run.write_status(process="1@1@gone")
    now = states(home)
    assert now.pop(runs[0].id) == "running"  # its file says that its process lives
    assert set(now.values()) == {"killed"}


def test_an_entry_says_what_the_status_file_says_and_what_became_of_the_run(make_run, tmp_path):
    run = make_run(state="queued")
    run.write_status(process="1@1@gone", host=HERE, devices=("0", "1"), started=5.0)
    (entry,) = run_index.entries(tmp_path / "home")
    assert (entry.recorded.state, entry.state) == ("queued", "killed")
    status = entry.recorded.status()
    assert (status.process, status.host) == ("1@1@gone", HERE)
    assert (status.devices, status.started) == (("0", "1"), 5.0)


def test_the_entry_of_an_ended_run_keeps_nobody_who_has_it(make_run, tmp_path):
    run = make_run(state="done")
    run.write_status(process="1@1@gone", host=HERE)
    (entry,) = run_index.entries(tmp_path / "home")
    assert entry.recorded.holder == {}
    assert entry.recorded.status().state == "done"


def test_beside_an_index_the_runs_of_a_group_are_those_that_are_there(make_run, tmp_path):
    home = tmp_path / "home"
    first, *others = [make_run(seed=seed) for seed in range(index_file.WORTH_WRITING)]
    mended = make_run(seed=50, group="b")
    spec = (mended.path / "spec.json").read_text()
    (mended.path / "spec.json").write_text("{")
    run_index.entries(home)
    assert run_index.unread(home) == [mended.id]
    (mended.path / "spec.json").write_text(spec)
    shutil.rmtree(others.pop().path)
    others.append(make_run(seed=51))
    make_run(seed=52, group="b")
    notes.change(first.path, archived=True)
    assert run_index.members("g", home) == others
    assert run_index.members("g", home, archived=True) == [first, *others]
    assert mended in run_index.members("b", home)
    assert run_index.by_group(home)["g"] == [run.id for run in (first, *others)]
    assert run_index.unread(home) == []
