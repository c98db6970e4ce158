"""The sbatch scripts, as text and as SLURM would run them."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from labrun.errors import LabError
from labrun.experiment import ResourcesConfig, RunConfig, SlurmConfig
from labrun.launch.slurm.script import Batch, text

RUN = Path("/home/x/runs/rlrt-grpo-s3-20260101-000000-abcd")
SCRIPTS = Path(__file__).parents[3] / "infra" / "slurm"


def options(script: str) -> list[str]:
    lines = script.splitlines()
    return [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")]


def test_a_job_bears_its_runs_name_and_asks_for_its_resources():
    resources = ResourcesConfig(num_gpus=2, num_cpus=8, num_nodes=3, time_limit=90, save_ahead_s=60)
    slurm = SlurmConfig(partition="gpu", account="lab", qos="long", gpu_type="a100")
    said = options(text(Batch(RunConfig(resources=resources, slurm=slurm), [RUN])))
    assert said == [
        "--partition=gpu",
        "--account=lab",
        "--qos=long",
        "--job-name=rlrt-grpo-s3",
        f"--comment={RUN.name}",
        "--output=/home/x/runs/.slurm/%j.log",
        "--open-mode=append",
        "--signal=TERM@60",
        "--nodes=3",
        "--ntasks-per-node=1",
        "--cpus-per-task=8",
        "--gres=gpu:a100:2",
        "--time=90",
        "--requeue",
    ]


def test_a_sweep_is_an_array_with_a_bound():
    config = RunConfig(group="g", slurm=SlurmConfig(max_running=4))
    said = options(text(Batch(config, [RUN, RUN, RUN])))
    assert "--array=0-2%4" in said
    assert "--job-name=g" in said


def test_the_settings_stand_behind_the_options_of_the_users_script(tmp_path):
    own = tmp_path / "mine.sh"
    own.write_text(
        "#!/bin/bash\n#SBATCH --mem=8G --nodes=7\n# {worker} is not here\n\nmodule load x\n"
        "srun apptainer exec x.sif {worker}\n"
    )
    config = RunConfig(slurm=SlurmConfig(script=str(own), python="python3"))
    script = text(Batch(config, [RUN]))
    assert options(script)[0] == "--mem=8G --nodes=7"
    assert "--nodes=1" in options(script)[1:]
    command = 'srun apptainer exec x.sif python3 -m labrun.launch.job "$LABRUN_RUN"'
    assert script.splitlines()[-1] == command
    assert script.index("trap lab_end EXIT") < script.index("module load x")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("#!/bin/bash\nsrun python train.py\n", "{worker} must stand once, where"),
        ("#!/bin/bash\n# srun {worker}\n", "{worker} must stand once, where"),
        ("srun {worker}\n", "its first line must name a shell: #!/bin/bash"),
        (None, "cannot be read"),
    ],
)
def test_a_script_without_a_place_for_the_job_is_refused(tmp_path, content, said):
    own = tmp_path / "mine.sh"
    if content is not None:
        own.write_text(content)
    with pytest.raises(LabError) as refused:
        text(Batch(RunConfig(slurm=SlurmConfig(script=str(own))), [RUN]))
    assert str(refused.value).startswith(f"slurm.script={own}: ")
    assert said in str(refused.value)


@pytest.fixture
def as_slurm(tmp_path):
    """Runs a script as SLURM would, with stand-ins of its commands; returns what they were told."""
    programs = {
        "srun": 'shift; echo "srun $LABRUN_JOB $LABRUN_RUN"; exit 75',
        "scontrol": 'echo "scontrol $*"; exit 1',
        "squeue": "echo ${SAYS:-RUNNING}",
    }
    (tmp_path / "bin").mkdir()
    for name, lines in programs.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{lines}\n")
        (tmp_path / "bin" / name).chmod(0o755)

    def run(script: str, **variables: str) -> list[str]:
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        known = {"PATH": path, "SLURM_JOB_ID": "12", "SLURM_CPUS_PER_TASK": "1", **variables}
        done = subprocess.run(["bash", "-c", script], env=known, capture_output=True, text=True)
        assert done.returncode == 75, done.stderr
        return done.stdout.splitlines()

    return run


@pytest.fixture
def run_folder(tmp_path):
    folder = tmp_path / "example-plain-s0-20260101-000000-abcd"
    folder.mkdir()
    (folder / "status.json").write_text('{\n "state": "queued"\n}')
    return folder


def test_a_task_of_an_array_takes_its_run_and_its_name(as_slurm, run_folder):
    script = text(Batch(RunConfig(group="g"), [RUN, run_folder]))
    array = {"SLURM_ARRAY_JOB_ID": "11", "SLURM_ARRAY_TASK_ID": "1", "SLURM_RESTART_COUNT": "2"}
    assert as_slurm(script, **array) == [
        f"scontrol update JobId=12 JobName=example-plain-s0 Comment={run_folder.name}",
        f"srun slurm 11_1 2 {run_folder}",
    ]


def test_a_job_is_put_back_where_its_process_asked_for_it_or_died_without_a_word(
    as_slurm, run_folder
):
    script = text(Batch(RunConfig(), [run_folder]))
    assert as_slurm(script) == [f"srun slurm 12 0 {run_folder}"]
    (run_folder / ".again").touch()
    assert as_slurm(script)[1:] == ["scontrol requeue 12"]
    (run_folder / ".again").unlink()
    (run_folder / "status.json").write_text('{\n "state": "running"\n}')
    assert as_slurm(script)[1:] == ["scontrol requeue 12"]


def test_a_job_that_slurm_is_ending_is_left_to_it(as_slurm, run_folder):
    (run_folder / ".again").touch()
    script = text(Batch(RunConfig(), [run_folder]))
    assert as_slurm(script, SAYS="COMPLETING") == [f"srun slurm 12 0 {run_folder}"]


@pytest.mark.parametrize("name", ["apptainer.sh", "modules.sh"])
def test_the_scripts_of_infra_start_the_job_as_they_are(as_slurm, run_folder, tmp_path, name):
    srun = tmp_path / "bin" / "srun"
    srun.write_text('#!/bin/sh\necho "$@"; exit 75\n')
    config = RunConfig(slurm=SlurmConfig(script=str(SCRIPTS / name), python="python3"))
    variables = {"LABRUN_HOME": str(tmp_path), "LAB_IMAGE": "x.sif", "CUDA_VISIBLE_DEVICES": "0"}
    said = as_slurm(text(Batch(config, [run_folder])), **variables)
    home = f"--bind {tmp_path}:{tmp_path} --env LABRUN_HOME={tmp_path}"
    container = {"apptainer.sh": f" apptainer exec {home} --nv x.sif", "modules.sh": ""}[name]
    job = f"python3 -m labrun.launch.job {run_folder}"
    assert said == [f"--kill-on-bad-exit=1{container} {job}"]


def test_a_home_behind_a_link_is_bound_where_the_job_looks_for_it(as_slurm, tmp_path):
    (tmp_path / "disk").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "disk")
    (tmp_path / "bin" / "srun").write_text('#!/bin/sh\necho "$@"; exit 75\n')
    config = RunConfig(slurm=SlurmConfig(script=str(SCRIPTS / "apptainer.sh"), python="python3"))
    (said,) = as_slurm(text(Batch(config, [link / RUN.name])), LABRUN_HOME=str(link))
    assert f" exec --bind {link}:{link} --env LABRUN_HOME={link} " in said


@pytest.mark.parametrize("name", ["apptainer.sh", "modules.sh"])
def test_a_probe_passes_through_the_scripts_of_infra(as_slurm, tmp_path, name):
    srun = tmp_path / "bin" / "srun"
    srun.write_text('#!/bin/sh\necho "$@"; exit 75\n')
    batch = Batch(RunConfig(slurm=SlurmConfig(script=str(SCRIPTS / name))), [RUN])
    (said,) = as_slurm(text(batch, worker="sh -c true"), LABRUN_HOME=str(tmp_path))
    assert said.endswith(" sh -c true")


def test_the_time_limit_and_the_meeting_place_are_told_to_the_job(as_slurm, run_folder, tmp_path):
    config = RunConfig(resources=ResourcesConfig(time_limit=2, num_nodes=2))
    script = text(Batch(config, [run_folder]))
    (tmp_path / "bin" / "srun").write_text('#!/bin/sh\necho "$LABRUN_MEET $LABRUN_ENDS"; exit 75\n')
    node = '#!/bin/sh\necho "NodeName=n1 NodeAddr=10.0.0.1 NodeHostName=n1"\n'
    (tmp_path / "bin" / "scontrol").write_text(node)
    (said,) = as_slurm(script)
    meet, ends = said.split()
    assert meet == "10.0.0.1:10012"
    now = float(subprocess.run(["date", "+%s"], capture_output=True, text=True).stdout)
    assert now + 60 < int(ends) <= now + 120


def test_runs_of_unlike_requests_are_no_array():
    from labrun.launch.slurm.launcher import _batches

    small, large = RunConfig(seed=0), RunConfig(seed=1, resources=ResourcesConfig(num_cpus=4))
    configs = {Path("a"): small, Path("b"): large, Path("c"): replace(small, seed=2)}
    assert _batches(configs, 9) == [[Path("a"), Path("c")], [Path("b")]]
