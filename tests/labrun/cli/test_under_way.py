"""`lab status`: the runs that have not ended."""

import json
import os
import re
import socket
import time

import pytest
from labrun.cli.under_way import print_status
from labrun.launch.launchers import Word
from labrun.runs import run_index, submission
from labrun.system import processes
from rich.console import Console

HERE = socket.gethostname()


@pytest.fixture
def lines(tmp_path, capsys):
    """The lines that the home's runs make."""

    def show():
        print_status(run_index.entries(tmp_path / "home"), Console(highlight=False, markup=False))
        return capsys.readouterr().out.splitlines()

    return show


def begin(run, *, started=60.0, **progress):
    """Let this process be the run's worker."""
    mine = {"pid": os.getpid(), "process": processes.me(), "host": HERE}
    run.write_status(state="running", started=started, devices=("0",), **mine)
    if progress:
        (run.path / "progress.json").write_text(json.dumps({"time": 1.0, **progress}))
    return run


def cells(line):
    return re.split(r"  +", line)


def test_no_runs_is_one_line(lines):
    assert lines() == ["no runs yet; `lab run plugin=...` makes one"]


def test_ended_runs_are_counted_by_state(lines, make_run):
    for seed, state in enumerate(("done", "failed", "done", "preempted", "hung", "refused")):
        make_run(seed=seed, state=state)
    assert lines() == [
        "no run is under way; ended: 2 done, 1 failed, 1 hung, 1 refused, 1 preempted"
    ]


def test_a_running_run_says_where_it_stands_and_who_runs_it(lines, make_run):
    run = begin(make_run(), stage="train", step=7, total=40)
    head, row, ended = lines()
    assert cells(head) == [
        *("run", "state", "stage", "step", "since", "devices", "by", "last sign", "eta")
    ]
    assert cells(row)[:4] == [run.id, "running", "train", "7/40"]
    assert cells(row)[4] == time.strftime("%Y-%m-%d %H:%M", time.localtime(60))
    assert cells(row)[5:7] == ["gpu0", f"pid {os.getpid()} on {HERE}"]
    assert re.fullmatch(r"\d+ s ago", cells(row)[7])
    assert ended == "ended: none"


def test_the_time_left_is_that_of_the_stage_at_its_speed_so_far(lines, make_run):
    run = begin(make_run(), stage="train", step=7, total=40, since=[2, 100.0])
    (run.path / "progress.json").write_text(
        (run.path / "progress.json").read_text().replace('"time": 1.0', '"time": 150.0')
    )
    assert cells(lines()[1])[8] == "5 min"


def test_a_run_of_a_cluster_names_its_job_and_why_it_waits(make_run, tmp_path, capsys):
    running, waiting = begin(make_run(seed=1), stage="train"), make_run(seed=2, state="queued")
    for number, run in enumerate((running, waiting)):
        submission.write(run.path, submission.Submitted("slurm", f"7_{number}"))
    words = {waiting.id: Word("waiting", reason="Priority")}
    found = run_index.entries(tmp_path / "home")
    print_status(found, Console(highlight=False, markup=False), words, is_group=True)
    lines = capsys.readouterr().out.splitlines()
    assert cells(lines[1])[6] == f"slurm job 7_0 on {HERE}"
    assert cells(lines[2])[6] == "slurm job 7_1 (Priority)"
    assert lines[3] == "ended: none; under way: 1 queued, 1 running"


def test_a_group_says_what_went_wrong(make_run, tmp_path, capsys):
    make_run(seed=1)
    run = make_run(seed=2, state="failed")
    run.write_status(message="its node is gone")
    found = run_index.entries(tmp_path / "home")
    print_status(found, Console(highlight=False, markup=False), is_group=True)
    assert capsys.readouterr().out.splitlines() == [
        f"failed: {run.id}: its node is gone",
        "no run is under way; ended: 1 done, 1 failed",
    ]


def test_a_run_without_a_known_end_says_its_step_alone(lines, make_run):
    run = begin(make_run(), stage="load")
    assert cells(lines()[1])[:4] == [run.id, "running", "load", "0"]


def test_what_an_earlier_attempt_said_is_not_shown(lines, make_run):
    run = begin(make_run(), stage="train", step=7, total=40, stopping=True)
    run.write_status(started=time.time() + 3600)
    assert cells(lines()[1])[:4] == [run.id, "running", "start", "0"]


def test_a_run_that_was_asked_to_stop_is_stopping(lines, make_run):
    begin(make_run(), stage="train", step=7, total=40, stopping=True)
    assert cells(lines()[1])[1:4] == ["stopping", "train", "7/40"]


def test_a_queued_run_names_the_command_that_will_start_it(lines, make_run):
    run = make_run(state="queued")
    run.write_status(process=processes.me(), host=HERE)
    row = cells(lines()[1])
    assert row[:4] == [run.id, "queued", "-", "0"]
    assert row[5:] == ["-", f"pid {os.getpid()} on {HERE}", "-", "-"]


def test_a_run_whose_process_is_gone_is_killed_and_not_under_way(lines, make_run):
    run = make_run(state="running")
    run.write_status(pid=2**22 + 1, process="4194305@1@boot", host=HERE)
    queued = make_run(seed=1, state="queued")
    queued.write_status(process="4194305@1@boot", host=HERE)
    assert lines() == ["no run is under way; ended: 2 killed"]


@pytest.mark.parametrize("text", ["", "null", "[]", '{"step": "x"}'])
def test_a_damaged_file_hides_no_other_run(lines, make_run, text):
    bad, good = begin(make_run(), stage="train"), begin(make_run(seed=1), stage="train", step=3)
    (bad.path / "progress.json").write_text(text)
    assert cells(lines()[1])[:4] == [bad.id, "running", "start", "0"]
    assert cells(lines()[2])[:4] == [good.id, "running", "train", "3"]
    (bad.path / "status.json").write_text(text)
    assert [line.split()[0] for line in lines()] == ["run", good.id, "ended:"]
    assert lines()[-1] == "ended: 1 unreadable"


def test_a_group_is_shown_alone(lab_here, make_run):
    mine = begin(make_run(group="a"), stage="train", step=2, total=3)
    begin(make_run(group="b", seed=1), stage="train")
    shown = lab_here("status", "--group", "a")
    assert shown.returncode == 0, shown.stderr
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["run", mine.id, "ended:"]
    unknown = lab_here("status", "--group", "c")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr == "lab: no group 'c'; allowed: a, b\n"


def test_status_of_an_empty_home_makes_nothing(lab_here, home):
    shown = lab_here("status")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout == "no runs yet; `lab run plugin=...` makes one\n"
    assert not home.exists()
