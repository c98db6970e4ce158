"""Runs on a real Ray of two nodes: submitted, cancelled, lost with their node, killed, refused."""

import os
import signal
from itertools import combinations

import pytest
from labrun.runs import submission
from labrun.runs.run_dir import RunDir
from labrun.system import processes
from two_raylets import SECOND_KIND

SLOW = ["trainer.trouble.sleep_s=0.1", "evaluate_start=false"]
NEVER = "save_every=1000"


def number(run: RunDir) -> int:
    """Which of the run's jobs has it."""
    job = submission.read(run.path)
    assert job is not None
    return job.number


def attempts(run: RunDir) -> list[int | None]:
    """From which step each attempt went on."""
    return [event["resumed_from"] for event in run.events() if event["kind"] == "attempt"]


def steps(run: RunDir) -> list[int]:
    return sorted(run.series().get("loss", {}))


def times(run: RunDir) -> tuple[float, float]:
    """When the run's processes wrote their first and their last event."""
    events = [event["time"] for event in run.events()]
    return min(events), max(events)


def test_runs_of_a_sweep_share_no_gpu_and_go_on_when_their_command_has_ended(
    cluster, submit, state_is, lab_here
):
    runs = submit("-m", "seed=0,1,2", "group=g", "num_gpus=1")
    said = lab_here("status", "--group", "g")
    assert "under way: " in said.stdout
    for run in runs:
        state_is(run, "done")
        assert steps(run) == list(range(1, 11))
    held = {run.id: tuple(run.recorded_status().devices) for run in runs}
    assert set(held.values()) <= {("0",), ("1",)}
    from ray.job_submission import JobSubmissionClient

    client = JobSubmissionClient(cluster.address)
    nodes = {run.id: client.get_job_info(f"{run.id}-0").driver_node_id for run in runs}
    for one, other in combinations(runs, 2):
        if (nodes[one.id], held[one.id]) == (nodes[other.id], held[other.id]):
            (first, end), (begin, last) = times(one), times(other)
            assert end <= begin or last <= first
    said = lab_here("status", "--group", "g")
    assert said.stdout.splitlines() == ["no run is under way; ended: 3 done"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["num_cpus=3"],
            "has 3 CPU, 0 GPU; its nodes have 1 x (2 CPU, 2 GPU), 1 x (2 CPU, 2 GPU T4)",
        ),
        (
            ["num_gpus=1", "ray.gpu_type=H100"],
            "no node of the Ray cluster has 1 CPU, 1 GPU of H100",
        ),
    ],
)
def test_what_the_cluster_can_never_give_is_refused_before_anything_is_made(
    cluster, lab_here, home, words, said
):
    where = ["launcher=ray", f"ray.address={cluster.address}"]
    done = lab_here("run", "plugin=example", *where, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not home.exists()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://127.0.0.1:9", "Ray at http://127.0.0.1:9: Failed to connect to Ray"),
        ("127.0.0.1:8265", "the address of Ray's dashboard begins with http:// or https://"),
    ],
)
def test_an_address_without_a_cluster_is_refused_before_anything_is_made(
    example, lab_here, home, address, said
):
    done = lab_here("run", "plugin=example", "launcher=ray", f"ray.address={address}")
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not home.exists()


def test_a_node_without_labrun_is_named_before_a_run_is_made(cluster, lab_here, home):
    where = ["launcher=ray", f"ray.address={cluster.address}", "ray.python=/nowhere/python"]
    done = lab_here("run", "plugin=example", *where)
    assert done.returncode == 2
    assert f" of the Ray cluster cannot run from {home} of " in done.stderr
    assert "/nowhere/python: not found" in done.stderr
    assert [path.name for path in home.iterdir()] == [".ray"]


def test_a_cancelled_run_saves_a_checkpoint_and_can_be_resumed(submit, state_is, until, lab_here):
    (run,) = submit(*SLOW, NEVER, "max_steps=40")
    until(lambda: steps(run))
    said = lab_here("cancel", run.id)
    assert said.stdout == f"{run.id}: asked to save a checkpoint and stop\n"
    state_is(run, "preempted")
    assert lab_here("resume", run.id).returncode == 0
    assert number(run) == 1
    state_is(run, "done")
    assert attempts(run)[1] >= 1
    assert steps(run) == list(range(1, 41))


def test_a_run_that_waits_or_is_ended_at_once_frees_its_place(cluster, submit, until, lab_here):
    words = [*SLOW, "max_steps=3000", "num_cpus=2", f"ray.gpu_type={SECOND_KIND}"]
    first, second = submit("-m", "seed=0,1", *words)
    until(lambda: steps(first) or steps(second))
    runs, waits = (first, second) if steps(first) else (second, first)
    said = lab_here("cancel", waits.id)
    assert said.stdout == f"{waits.id}: cancelled before it started\n"
    assert lab_here("cancel", "--now", runs.id).stdout == f"{runs.id}: ended at once\n"
    until(lambda: not processes.is_alive(runs.recorded_status().process))
    until(lambda: all(job.has_ended for job in jobs_of(cluster, first, second)))
    assert not steps(waits)


def jobs_of(cluster, *runs: RunDir):
    from labrun.launch.ray.cluster import Cluster

    known = Cluster(cluster.address).jobs()
    return [job for job in known.values() if job.run in [run.path for run in runs]]


def test_a_run_goes_on_when_its_worker_and_then_its_whole_job_are_killed(submit, state_is, until):
    (run,) = submit(*SLOW, "save_every=5", "max_steps=60")
    until(lambda: len(steps(run)) > 10)
    os.kill(int(run.recorded_status().process.partition("@")[0]), signal.SIGKILL)
    until(lambda: len(attempts(run)) == 2)
    assert number(run) == 0
    state_is(run, "running")
    os.kill(job_of(run), signal.SIGKILL)
    state_is(run, "done")
    assert number(run) == 1
    assert len(attempts(run)) == 3
    assert all(attempts(run)[1:])
    assert steps(run) == list(range(1, 61))


def job_of(run: RunDir) -> int:
    """The pid of the process that Ray started for the run."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as line:
                words = line.read().decode().split("\0")
        except OSError:
            continue
        if words[1:4] == ["-m", "labrun.launch.job", str(run.path)]:
            return int(name)
    raise AssertionError(f"{run.id} has no job")


def test_a_run_whose_node_died_goes_on_where_there_is_one(cluster, submit, state_is, until):
    (run,) = submit(*SLOW, "save_every=5", "max_steps=40", f"ray.gpu_type={SECOND_KIND}")
    until(lambda: len(steps(run)) > 10)
    cluster.kill_second()
    until(lambda: number(run) == 1)
    assert run.recorded_status().state == "queued"
    cluster.start_second()
    state_is(run, "done")
    first, second = attempts(run)
    assert first is None
    assert second % 5 == 0
    assert steps(run) == list(range(1, 41))
