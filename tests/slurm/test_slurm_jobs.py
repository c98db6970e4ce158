"""Runs on a real SLURM of two nodes: submitted, put back, cancelled, limited in time, refused."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from labrun.launch.slurm import commands
from labrun.runs import run_index, submission
from labrun.runs.run_dir import RunDir

SLOW = ["trainer.trouble.sleep_s=0.1", "evaluate_start=false"]
NEVER = "save_every=1000"


def squeue(run: RunDir, form: str) -> str:
    job = submission.read(run.path)
    assert job is not None
    words = ["squeue", "--noheader", "--states=all", f"--jobs={job.id}", f"--format={form}"]
    return subprocess.run(words, capture_output=True, text=True).stdout.strip()


def attempts(run: RunDir) -> list[int | None]:
    """From which step each attempt went on."""
    return [event["resumed_from"] for event in run.events() if event["kind"] == "attempt"]


def steps(run: RunDir) -> list[int]:
    return sorted(run.series().get("loss", {}))


def test_a_sweep_is_an_array_whose_tasks_bear_their_runs_names(submit, state_is, lab_here):
    runs = submit("-m", "seed=0,1,2", "group=g", "slurm.max_running=2")
    jobs = [submission.read(run.path) for run in runs]
    assert [job.id.partition("_")[2] for job in jobs] == ["0", "1", "2"]
    assert len({job.id.partition("_")[0] for job in jobs}) == 1
    for run in runs:
        state_is(run, "done")
        assert steps(run) == list(range(1, 11))
        assert squeue(run, "%j|%k") == f"{run.id.rsplit('-', 3)[0]}|{run.id}"
    said = lab_here("status", "--group", "g")
    assert said.stdout.splitlines() == ["no run is under way; ended: 3 done"]


def test_variables_of_the_shell_beat_no_key_and_hide_no_job(submit, state_is, monkeypatch):
    beating = {"SBATCH_JOB_NAME": "mine", "SBATCH_ARRAY_INX": "0-1", "SBATCH_TIMELIMIT": "1"}
    for name, value in {**beating, "SBATCH_WAIT": "1", "SQUEUE_USERS": "nobody"}.items():
        monkeypatch.setenv(name, value)
    (run,) = submit(*SLOW, "max_steps=20", "resources.time_limit=30")
    job = submission.read(run.path)
    assert "_" not in job.id
    assert commands.look([job.id])[job.id].state in ("waiting", "running")
    state_is(run, "done")
    for name in ("SQUEUE_USERS", *beating):
        monkeypatch.delenv(name)
    assert squeue(run, "%j|%l") == f"{run.id.rsplit('-', 3)[0]}|30:00"


def test_a_job_that_is_put_back_goes_on_from_its_checkpoint(submit, state_is, until):
    (run,) = submit(*SLOW, NEVER, "max_steps=40")
    until(lambda: steps(run))
    job = submission.read(run.path)
    subprocess.run(["scontrol", "requeue", job.id], check=True)
    state_is(run, "done")
    first, second = attempts(run)
    assert first is None
    assert second is not None
    assert second >= 1
    assert steps(run) == list(range(1, 41))
    assert submission.read(run.path) == job


def test_a_cancelled_run_saves_a_checkpoint_and_can_be_resumed(submit, state_is, until, lab_here):
    (run,) = submit(*SLOW, NEVER, "max_steps=40")
    until(lambda: steps(run))
    said = lab_here("cancel", run.id)
    assert said.stdout == f"{run.id}: asked to save a checkpoint and stop\n"
    state_is(run, "preempted")
    until(lambda: "COMPLETED" in squeue(run, "%T") or "FAILED" in squeue(run, "%T"))
    assert run.recorded_status().state == "preempted"
    assert lab_here("resume", run.id).returncode == 0
    state_is(run, "done")
    assert attempts(run)[1] is not None


def test_a_job_saves_before_its_time_limit_and_goes_on(submit, state_is, until):
    limit = ["resources.time_limit=0.25", "resources.save_ahead_s=5", "slurm.max_requeues=99"]
    (run,) = submit(*SLOW, NEVER, *limit, "max_steps=100")
    state_is(run, "done")
    begun_at = attempts(run)  # on a busy machine a first one may end before it has a step to save
    first = next(i for i, step in enumerate(begun_at) if step)
    assert first >= 1
    assert all(begun_at[first:])
    assert steps(run) == list(range(1, 101))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["num_cpus=99"], "Requested node configuration is not available"),
        (["slurm.partition=nowhere"], "Invalid partition name specified"),
    ],
)
def test_what_slurm_can_never_give_is_refused_before_anything_is_made(
    cluster, lab_here, home, words, said
):
    done = lab_here("run", "plugin=example", "launcher=slurm", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not home.exists()


def test_jobs_of_a_lost_node_go_on_elsewhere_and_one_that_still_runs_there_ends(
    cluster, submit, state_is, until
):
    slow = [*SLOW, "save_every=5", "max_steps=300"]
    gone, cut_off = submit("-m", "seed=0,1", *slow)
    until(lambda: len(steps(gone)) > 10 and len(steps(cut_off)) > 10)
    lost = squeue(gone, "%N")
    assert squeue(cut_off, "%N") == lost
    cluster.kill_daemon(lost)
    cluster.kill_steps(lost, of=gone.path)  # the other's run on
    try:
        for run in (gone, cut_off):
            until(lambda run=run: len(attempts(run)) == 2)
            assert squeue(run, "%N") == {"n1": "n2", "n2": "n1"}[lost]
            first, second = attempts(run)
            assert first is None
            assert second >= 10
            assert second % 5 == 0
            until(lambda run=run, second=second: len(steps(run)) > second + 10)
            events = list(run.events())
            begun = max(i for i, event in enumerate(events) if event["kind"] == "attempt")
            later = [event["step"] for event in events[begun:] if event["kind"] == "metrics"]
            assert later == list(range(second + 1, second + 1 + len(later)))
    finally:
        cluster.start_node(lost)


def test_a_folder_that_the_nodes_see_is_found_out_once(cluster, lab_here, home, state_is):
    done = lab_here("run", "plugin=example", "launcher=slurm", "max_steps=1")
    assert done.returncode == 0, done.stderr
    assert "ClusterName = lab" in (home / ".seen-by-slurm").read_text()
    assert [path.name for path in (home / ".slurm").glob("probe-*")] == []
    (entry,) = run_index.entries(home)
    state_is(entry.run, "done")


def test_a_folder_that_no_node_sees_is_refused_before_anything_is_submitted(
    cluster, lab_here, home, tmp_path
):
    script = tmp_path / "mine.sh"
    script.write_text("#!/bin/bash\nexit 0  # as if the folder were not there\n{worker}\n")
    done = lab_here("run", "plugin=example", "launcher=slurm", f"slurm.script={script}")
    assert done.returncode == 2
    assert done.stderr.startswith(f"lab: the nodes do not see {home} of ")
    assert len(done.stderr.splitlines()) == 1
    assert run_index.entries(home) == []


def test_a_script_of_the_users_own_runs_the_job(submit, state_is, tmp_path):
    script = tmp_path / "mine.sh"
    script.write_text(
        "#!/bin/bash\n#SBATCH --time=5\nset -e\nexport GREETING=hello\n"
        "srun --kill-on-bad-exit=1 env TRUE=1 {worker}\necho $GREETING\n"
    )
    (run,) = submit(f"slurm.script={script}", "max_steps=2", "seed=3")
    state_is(run, "done")
    assert squeue(run, "%l|%j|%k") == f"5:00|example-plain-s3|{run.id}"


def test_ctrl_c_of_a_waiting_command_stops_its_jobs_by_a_checkpoint(cluster, home, until, state_is):
    words = ["run", "plugin=example", "launcher=slurm", "slurm.sees_home=true", "--wait"]
    command = [sys.executable, "-m", "labrun.cli", *words, *SLOW, NEVER, "max_steps=600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as waiting:
        until(lambda: any(steps(entry.run) for entry in run_index.entries(home)))
        waiting.send_signal(signal.SIGINT)
        said = waiting.communicate()[0].decode()
    (entry,) = run_index.entries(home)
    assert "lab: stopping the jobs" in said
    assert waiting.returncode == 75, said
    assert entry.run.recorded_status().state == "preempted"
    assert any(event["kind"] == "checkpoint" for event in entry.run.events())


def test_the_script_of_infra_runs_the_job_in_what_apptainer_starts(
    submit, state_is, tmp_path, monkeypatch
):
    stand_in = tmp_path / "bin" / "apptainer"
    stand_in.parent.mkdir()
    told = tmp_path / "told"
    stand_in.write_text(
        f'#!/bin/bash\necho "$@" > {told}\nwhile [ "$1" != x.sif ]; do shift; done\nshift\n"$@"\n'
    )
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_in.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("LAB_IMAGE", "x.sif")
    script = Path(__file__).parents[2] / "infra" / "slurm" / "apptainer.sh"
    (run,) = submit(f"slurm.script={script}", "max_steps=2")
    state_is(run, "done")
    assert told.read_text().startswith(f"exec --bind {run.path.parent}:{run.path.parent} --env ")
