"""What SLURM says of jobs, by stand-ins of its commands: lost jobs, an absent or late sacct."""

import os
import time
from dataclasses import replace

import pytest
from labrun.errors import LabError
from labrun.experiment import Experiment, ResourcesConfig, RunConfig, SlurmConfig
from labrun.launch import following
from labrun.launch.launchers import Word
from labrun.launch.slurm import commands
from labrun.launch.slurm.launcher import Slurm
from labrun.runs import run_dir, submission
from labrun.runs.submission import Submitted

BAD_ID = "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1"


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """`stand_in(squeue="echo ...")`: commands of SLURM that run these lines, and no others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin-without-slurm")

    def write(**programs: str) -> None:
        for name, lines in programs.items():
            path = folder / name
            path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{lines}\n")
            path.chmod(0o755)

    return write


@pytest.fixture
def lost(make_run):
    """A run that SLURM took as job 7 long ago, and whose machine says no more."""

    def make(state: str = "running"):
        run = make_run(state=state)
        run.write_status(host="n1", process="1@2@3")
        submission.write(run.path, Submitted("slurm", "7", "", "login", time.time() - 900))
        old = time.time() - 10 * following.SILENT_S
        for name in ("submitted.json", "events.jsonl", "spec.json"):
            os.utime(run.path / name, (old, old))
        return run

    return make


def test_the_queue_says_where_a_job_runs_and_why_one_waits(stand_in):
    lines = "7|RUNNING|n[1-2]|None\n8_1|PENDING||Priority\n9|COMPLETED|n1|None\n"
    stand_in(squeue=f"printf '{lines}'", sacct="exit 1")
    assert commands.look(["7", "8_1", "9", "10"]) == {
        "7": Word("running", where="n[1-2]"),
        "8_1": Word("waiting", reason="Priority"),
        "9": Word("gone", where="n1", reason="COMPLETED"),
        "10": Word("gone"),
    }


def test_the_accounting_says_how_a_job_ended_that_the_queue_has_forgotten(stand_in):
    stand_in(squeue=BAD_ID, sacct="echo '7|OUT_OF_MEMORY|0:125'")
    assert commands.look(["7"]) == {"7": Word("gone", reason="OUT_OF_MEMORY 0:125")}


@pytest.mark.parametrize(
    "sacct",
    [
        "echo 'Slurm accounting storage is disabled' >&2; exit 1",
        "true",  # it has not heard of the job yet
        "echo '7|RUNNING|0:0'",  # it has not heard of the end yet
        None,
    ],
)
def test_without_an_accounting_that_knows_it_a_job_is_gone_without_a_reason(stand_in, sacct):
    stand_in(squeue=BAD_ID)
    if sacct is not None:
        stand_in(sacct=sacct)
    assert commands.look(["7"]) == {"7": Word("gone")}


def test_a_job_that_was_just_submitted_is_not_gone(stand_in):
    stand_in(squeue=BAD_ID)
    job = Submitted("slurm", "7", time=time.time())
    assert Slurm().look([job])[job].state == "unknown"


def test_a_lost_job_ends_its_run_with_slurms_reason(stand_in, lost):
    stand_in(squeue=BAD_ID, sacct="echo '7|NODE_FAIL|1:0'")
    run = lost()
    following.words([run])
    status = run.recorded_status()
    assert (status.state, status.message) == ("killed", "its slurm job 7 is gone: NODE_FAIL 1:0")


def test_a_job_that_the_user_cancelled_by_scancel_is_preempted(stand_in, lost):
    stand_in(squeue="echo '7|CANCELLED||None'")
    run = lost("queued")
    following.words([run])
    assert run.recorded_status().state == "preempted"


def test_a_slurm_that_does_not_answer_changes_no_run(stand_in, lost):
    stand_in(squeue="echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    run = lost()
    word = following.words([run])[run.id]
    assert word.state == "unknown"
    assert word.reason.endswith("Unable to contact slurm controller")
    assert run.recorded_status().state == "running"


def test_a_run_whose_job_gives_signs_of_life_is_not_asked_after(stand_in, lost):
    stand_in(squeue=BAD_ID)
    run = lost()
    submission.beat(run.path)
    assert following.words([run]) == {}
    assert run.status().state == "running"


def test_a_silent_job_that_slurm_calls_running_is_running(stand_in, lost):
    stand_in(squeue="echo '7|RUNNING|n1|None'")
    run = lost()
    assert following.words([run]) == {run.id: Word("running", where="n1")}
    assert run.recorded_status().state == "running"


def test_without_slurm_on_path_one_line_says_so(stand_in):
    with pytest.raises(LabError, match="launcher=slurm: no sbatch on PATH; start `lab` where"):
        commands.submit("#!/bin/sh\n", without=())


def test_the_variables_of_a_shell_do_not_beat_the_keys_of_a_run(stand_in, tmp_path, monkeypatch):
    calls = tmp_path / "calls"
    stand_in(scontrol="exit 1", sbatch=f"env | grep ^SBATCH_ | sort > {calls}; echo 5")
    beaten = ("PARTITION", "TIMELIMIT", "GRES", "JOB_NAME", "OPEN_MODE", "ARRAY_INX", "NO_REQUEUE")
    for name in (*beaten, "ACCOUNT", "MEM_PER_NODE"):
        monkeypatch.setenv(f"SBATCH_{name}", "x")
    config = RunConfig(
        launcher="slurm",
        slurm=SlurmConfig(partition="gpu"),
        resources=ResourcesConfig(num_gpus=1, time_limit=90),
    )
    spec = Experiment(
        plugin="toy", run=config, settings={}, components={}, choices={}, overrides=()
    )
    run = run_dir.create(spec, root=tmp_path)
    for ask in (lambda: list(Slurm().submit([run])), lambda: Slurm().check([config], home=None)):
        ask()
        assert calls.read_text() == "SBATCH_ACCOUNT=x\nSBATCH_MEM_PER_NODE=x\n"


def test_the_variables_of_a_shell_narrow_no_look_and_no_cancel(stand_in, tmp_path, monkeypatch):
    calls = tmp_path / "calls"
    env = f"env | grep -E '^(SQUEUE|SCANCEL|SACCT|SLURM)_' >> {calls}"
    stand_in(squeue=f"{env}; echo '7|PENDING||Priority'", scancel=env, sacct=env)
    for name in ("SQUEUE_USERS", "SQUEUE_STATES", "SCANCEL_PARTITION", "SACCT_LOCAL", "SLURM_CONF"):
        monkeypatch.setenv(name, "x")
    assert commands.look(["7", "8"])["7"].state == "waiting"
    Slurm().cancel([Submitted("slurm", "7")], now=True)
    assert set(calls.read_text().splitlines()) == {"SLURM_CONF=x"}


def test_a_running_job_is_asked_by_a_signal_and_a_waiting_one_ended(stand_in, tmp_path):
    calls = tmp_path / "calls"
    lines = "7|RUNNING|n1|None\n8|PENDING||Priority\n9|FAILED|n1|None\n"
    stand_in(squeue=f"printf '{lines}'", scancel=f'echo "$@" >> {calls}')
    jobs = [Submitted("slurm", number) for number in ("7", "8", "9")]
    Slurm().cancel(jobs, now=False)
    assert calls.read_text() == "--signal=TERM 7\n8\n"
    calls.unlink()
    Slurm().cancel(jobs, now=True)
    assert calls.read_text() == "7 8\n"


@pytest.mark.parametrize(("bound", "waits"), [(0, False), (2, True)])
def test_a_sweep_larger_than_an_array_is_several(stand_in, tmp_path, bound, waits):
    calls = tmp_path / "calls"
    stand_in(
        scontrol="printf 'MaxArraySize            = 2\\nMaxJobCount = 10000\\n'",
        sbatch=f"grep -E -e '--(array|dependency)=' >> {calls}; echo $(wc -l < {calls})",
    )
    config = RunConfig(group="g", launcher="slurm", slurm=SlurmConfig(max_running=bound))
    sweep = [
        Experiment(
            plugin="toy", run=replace(config, seed=seed), settings={}, components={}, choices={},
            overrides=(),
        )
        for seed in range(5)
    ]  # fmt: skip
    runs = [run_dir.create(experiment, root=tmp_path) for experiment in sweep]
    ids = [job.id for _, job in Slurm().submit(runs)]
    most = f"%{bound}" if bound else ""
    if waits:
        assert ids == ["1_0", "1_1", "3_0", "3_1", "4"]
        assert calls.read_text().split("#SBATCH ")[1:] == [
            f"--array=0-1{most}\n", "--dependency=afterany:1\n", f"--array=0-1{most}\n",
            "--dependency=afterany:3\n",
        ]  # fmt: skip
    else:
        assert ids == ["1_0", "1_1", "2_0", "2_1", "2"]
        assert calls.read_text() == 2 * "#SBATCH --array=0-1\n"


def test_where_there_is_no_slurm_a_plan_is_shown_and_a_run_is_refused(
    stand_in, home, example, lab_here
):
    stand_in(sinfo="true")
    planned = lab_here("run", "plugin=example", "launcher=slurm", "--dry-run", "seed=4")
    assert planned.returncode == 0
    assert "#SBATCH --job-name=example-plain-s4" in planned.stdout.splitlines()
    assert "  - launcher=slurm: no sbatch on PATH; start `lab` where" in planned.stdout
    done = lab_here("run", "plugin=example", "launcher=slurm")
    assert done.returncode == 2
    assert done.stderr.startswith("lab: launcher=slurm: no sbatch on PATH; ")
    assert not home.exists()
