"""What is asked of Ray for a run, and what no node can give."""

from pathlib import Path

import pytest

pytest.importorskip("ray")

from labrun.errors import LabError
from labrun.experiment import RayConfig, ResourcesConfig, RunConfig
from labrun.launch.ray import request
from labrun.runs.submission import Submitted

RUN = Path("/home of runs/rlrt-grpo-s0-20261126-101112-abcd")
NODES = [
    {"CPU": 8.0, "GPU": 4.0, "accelerator_type:A100": 1.0, "memory": 1e9},
    {"CPU": 8.0, "GPU": 4.0, "accelerator_type:A100": 1.0, "memory": 2e9},
    {"CPU": 64.0, "memory": 1e9},
]


def test_a_run_is_one_command_with_its_resources(monkeypatch):
    monkeypatch.setenv("HF_HOME", "/models")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.delenv("LABRUN_KEY", raising=False)
    config = RunConfig(
        resources=ResourcesConfig(num_gpus=2, num_cpus=4),
        ray=RayConfig(gpu_type="A100"),
        stop_timeout_s=600.0,
    )
    asked = request.of(RUN, config, number=3)
    assert asked.id == "rlrt-grpo-s0-20261126-101112-abcd-3"
    assert asked.entrypoint == f"exec python -m labrun.launch.job '{RUN}'"
    assert (asked.num_cpus, asked.num_gpus) == (4, 2)
    assert asked.resources == {"accelerator_type:A100": 0.001}
    assert asked.variables == {
        "HF_HOME": "/models",
        "LABRUN_JOB": f"ray {asked.id} 3",
        "RAY_JOB_STOP_WAIT_TIME_S": "660",
    }


def test_a_time_limit_counts_from_the_start_of_the_job():
    config = RunConfig(resources=ResourcesConfig(time_limit=2.5), ray=RayConfig(python="python3"))
    assert request.entrypoint(RUN, config) == (
        f"export LABRUN_ENDS=$(($(date +%s) + 150)); exec python3 -m labrun.launch.job '{RUN}'"
    )


def test_a_job_that_follows_another_has_its_variables_and_its_own_name(monkeypatch):
    monkeypatch.setenv("HF_HOME", "/elsewhere")
    before = {"HF_HOME": "/models", "LABRUN_JOB": "ray x-0 0"}
    asked = request.of(RUN, RunConfig(), number=1, variables=before)
    assert asked.variables["HF_HOME"] == "/models"
    assert asked.variables["LABRUN_JOB"] == f"ray {asked.id} 1"


@pytest.mark.parametrize(
    ("job", "number"),
    [(None, 0), (Submitted("slurm", "7"), 0), (Submitted("ray", "x-4", number=4), 5)],
)
def test_no_two_jobs_of_a_run_have_one_number(job, number):
    assert request.next_number(job) == number


@pytest.mark.parametrize(
    "config",
    [
        RunConfig(resources=ResourcesConfig(num_gpus=4, num_cpus=8)),
        RunConfig(resources=ResourcesConfig(num_cpus=64)),
        RunConfig(resources=ResourcesConfig(num_gpus=1), ray=RayConfig(gpu_type="A100")),
        RunConfig(resources=ResourcesConfig(num_gpus=9), ray=RayConfig(grows=True)),
    ],
)
def test_what_one_node_has_is_let_through(config):
    request.refuse_infeasible(config, NODES)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            RunConfig(resources=ResourcesConfig(num_gpus=4, num_cpus=9)),
            "no node of the Ray cluster has 9 CPU, 4 GPU; its nodes have 1 x (64 CPU, 0 GPU), "
            "2 x (8 CPU, 4 GPU A100); ask for less",
        ),
        (
            RunConfig(resources=ResourcesConfig(num_gpus=1), ray=RayConfig(gpu_type="H100")),
            "no node of the Ray cluster has 1 CPU, 1 GPU of H100; its nodes have ",
        ),
        (
            RunConfig(resources=ResourcesConfig(num_nodes=2), ray=RayConfig(grows=True)),
            "resources.num_nodes=2: launcher=ray gives a run one node; launcher=slurm gives",
        ),
    ],
)
def test_what_no_node_has_even_when_it_is_free_is_refused(config, said):
    with pytest.raises(LabError) as refused:
        request.refuse_infeasible(config, NODES)
    assert str(refused.value).startswith(said)
