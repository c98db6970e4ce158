"""Which lost runs a keeper hands in again, and which endings it records."""

import errno
import os
import time
from dataclasses import dataclass, field, replace

import pytest

pytest.importorskip("ray")

from labrun.errors import EXIT_PREEMPTED
from labrun.experiment import Experiment, RayConfig, RunConfig
from labrun.launch import following, requeues
from labrun.launch.launchers import Word
from labrun.launch.ray import keeper, launcher
from labrun.launch.ray.cluster import HEADING, KEEPER, QUEUED_TOO_LONG, RUN, RayJob, Request
from labrun.launch.ray.keeper import Keeper
from labrun.launch.ray.launcher import Ray
from labrun.runs import run_dir, submission
from labrun.runs.run_dir import RunDir
from labrun.runs.submission import Submitted

DIED = "JOB_SUPERVISOR_ACTOR_DIED"
COMMAND = "JOB_ENTRYPOINT_COMMAND_ERROR"


@dataclass
class KnownJobs:
    """A cluster that knows these jobs, and notes what is submitted."""

    known: dict[str, RayJob] = field(default_factory=dict)
    submitted: list[Request] = field(default_factory=list)

    def jobs(self) -> dict[str, RayJob]:
        return self.known

    def submit(self, request: Request) -> None:
        self.submitted.append(request)


class Kept:
    """One run whose job Ray knows, its keeper, and what that did."""

    def __init__(self, home, *, number: int = 0, max_requeues: int = 5) -> None:
        config = RunConfig(launcher="ray", ray=RayConfig(max_requeues=max_requeues))
        spec = Experiment(
            plugin="toy",
            run=config,
            settings={"trainer": {}},
            components={"trainer": "toy.trainer"},
            choices={},
            overrides=(),
        )
        self.run: RunDir = run_dir.create(spec, root=home)
        self.run.write_status(state="running", host="n1", process="1@2@3")
        self.id = f"{self.run.id}-{number}"
        submission.write(self.run.path, Submitted("ray", self.id, "http://x", number=number))
        self.cluster = KnownJobs()
        self.released: list[str] = []
        self.keeper = Keeper(home, self.cluster, self._release)  # type: ignore[arg-type]

    def _release(self, jobs) -> None:
        self.released += [job.id for job in jobs]

    def ray_says(self, state, error="", exit_code=None, message="") -> None:
        metadata, variables = {RUN: str(self.run.path)}, {"HF_HOME": "/models"}
        job = RayJob(self.id, state, message, error, exit_code, "n1", metadata, variables)
        self.cluster.known[self.id] = job

    def is_silent(self) -> None:
        old = time.time() - 10 * following.SILENT_S
        os.utime(self.run.path / submission.FILE, (old, old))

    @property
    def submitted(self) -> list[str]:
        return [request.id for request in self.cluster.submitted]


@pytest.fixture
def kept(home):
    return lambda **words: Kept(home, **words)


def test_a_run_whose_node_died_goes_on_as_its_next_job(kept):
    one = kept()
    one.ray_says("FAILED", DIED, message="trace\nThe node died.")
    assert one.keeper.look()
    assert one.submitted == [f"{one.run.id}-1"]
    assert one.cluster.submitted[0].variables["HF_HOME"] == "/models"
    assert one.released == [one.id]
    assert submission.read(one.run.path).number == 1
    status = one.run.recorded_status()
    assert (status.state, status.process) == ("queued", f"ray {one.run.id}-1")
    assert not one.keeper.look()


@pytest.mark.parametrize("exit_code", [EXIT_PREEMPTED, -9])
def test_a_job_that_asked_for_it_or_was_killed_goes_on(kept, exit_code):
    one = kept(number=4)
    one.ray_says("FAILED", COMMAND, exit_code)
    assert one.keeper.look()
    assert one.submitted == [f"{one.run.id}-5"]
    assert one.released == []


def test_a_run_that_is_lost_again_and_again_at_one_checkpoint_fails(kept):
    one = kept(max_requeues=1)
    requeues.begin(one.run, life=0)
    one.ray_says("FAILED", DIED)
    one.keeper.look()
    one.run.write_status(state="running")
    requeues.begin(one.run, life=1)  # the next job, which counts no second time
    one.id = f"{one.run.id}-1"
    one.ray_says("FAILED", DIED)
    one.keeper.look()
    assert one.submitted == [f"{one.run.id}-1"]
    status = one.run.recorded_status()
    assert status.state == "failed"
    assert status.message.startswith("2 jobs in a row saved no checkpoint after its beginning")


def test_a_job_that_waited_for_too_long_waits_again_uncounted(kept):
    one = kept(max_requeues=0)
    one.run.write_status(state="queued")
    one.ray_says("FAILED", QUEUED_TOO_LONG)
    assert one.keeper.look()
    assert one.submitted == [f"{one.run.id}-1"]
    assert one.released == [one.id]


def test_a_run_whose_command_ended_by_itself_is_recorded_once_it_is_silent(kept):
    one = kept()
    one.ray_says("FAILED", COMMAND, 127, f"sh: 1: exec: python: not found\n{HEADING}x: exec")
    assert one.keeper.look()
    assert one.run.recorded_status().state == "running"
    one.is_silent()
    one.keeper.look()
    status = one.run.recorded_status()
    assert status.state == "killed"
    assert "sh: 1: exec: python: not found" in status.message
    assert one.submitted == []


@pytest.mark.parametrize("state", ["STOPPED", "FAILED"])
def test_a_cancelled_run_goes_on_in_no_other_job(kept, state):
    one = kept()
    submission.cancel(one.run.path)
    one.ray_says(state, DIED if state == "FAILED" else "")
    one.is_silent()
    one.keeper.look()
    assert one.submitted == []
    assert one.run.recorded_status().state == "preempted"


def test_a_cancelled_run_whose_job_waits_frees_its_place(kept):
    one = kept()
    one.run.write_status(state="preempted")
    one.ray_says("PENDING")
    assert one.keeper.look()
    assert one.keeper.look()
    assert one.released == [one.id]


def test_a_run_that_has_ended_or_has_a_later_job_is_left_alone(kept):
    one = kept()
    one.ray_says("FAILED", COMMAND, 1)
    one.run.write_status(state="failed")
    assert not one.keeper.look()
    other = kept(number=2)
    other.id = f"{other.run.id}-1"
    other.ray_says("FAILED", DIED)
    assert not other.keeper.look()
    assert one.submitted == other.submitted == []


def test_a_job_that_a_dead_keeper_has_submitted_is_not_submitted_twice(kept):
    one = kept()
    one.ray_says("FAILED", DIED)
    first, one.id = one.id, f"{one.run.id}-1"
    one.ray_says("PENDING")
    one.keeper.look()
    assert one.submitted == []
    assert submission.read(one.run.path).id == one.id != first


def test_a_supervisor_that_no_longer_sees_its_dead_job_is_ended(kept, monkeypatch):
    one = kept()
    one.ray_says("RUNNING")
    monkeypatch.setattr(keeper, "HUNG_S", 0.0)
    one.keeper.look()
    assert one.released == []
    one.keeper.look()
    assert one.released == [one.id]
    submission.beat(one.run.path)
    one.keeper.look()
    assert one.released == [one.id]


def test_a_run_whose_folder_cannot_be_written_holds_up_no_other(kept, monkeypatch):
    one = kept()
    one.ray_says("FAILED", DIED)
    first = one.run.path
    other = kept()
    other.ray_says("FAILED", DIED)
    one.cluster.known |= other.cluster.known
    begin = requeues.begin

    def stale(run, **words):
        if run.path == first:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        begin(run, **words)

    monkeypatch.setattr(requeues, "begin", stale)
    assert one.keeper.look()
    assert one.submitted == [f"{other.run.id}-1"]


def test_a_look_that_the_disk_ends_is_not_the_keeper_s_last(monkeypatch):
    looks = iter([OSError(errno.EIO, os.strerror(errno.EIO)), True, False])

    def look() -> bool:
        said = next(looks)
        if isinstance(said, OSError):
            raise said
        return said

    monkeypatch.setattr(keeper, "LOOK_S", 0.2)
    monkeypatch.setattr(keeper, "IDLE_S", 0.1)
    assert keeper.keep(look) == 0
    assert list(looks) == []


def test_a_job_that_its_cluster_does_not_know_is_gone_unless_it_was_just_submitted(
    kept, monkeypatch
):
    one = kept()
    monkeypatch.setattr(launcher, "Cluster", lambda place: one.cluster)
    job = submission.read(one.run.path)
    old, new = replace(job, time=time.time() - 60), replace(job, time=time.time())
    assert Ray().look([old, new]) == {
        old: Word("gone", reason="its cluster knows it no more"),
        new: Word("unknown", reason="just submitted"),
    }


def test_a_lost_job_waits_while_a_keeper_lives_and_is_gone_without_one(kept, monkeypatch):
    one = kept()
    one.ray_says("FAILED", DIED, message="The node died.")
    monkeypatch.setattr(launcher, "Cluster", lambda place: one.cluster)
    job = submission.read(one.run.path)
    told = f"{DIED}: The node died."
    assert Ray().look([job]) == {job: Word("gone", "n1", told)}
    home = str(one.run.path.parent)
    one.cluster.known["keeper"] = alive = RayJob("keeper", "RUNNING", metadata={KEEPER: home})
    assert Ray().look([job]) == {job: Word("waiting", "n1", f"it is submitted again after {told}")}
    one.cluster.known["keeper"] = replace(alive, state="FAILED")
    assert Ray().look([job])[job].state == "gone"
