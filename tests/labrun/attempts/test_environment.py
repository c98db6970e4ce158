"""Variables of the shell that change numbers do not reach jobs, and the run says so."""

import json
import os
import subprocess
import sys

import pytest
from labrun.attempts.environment import DROPPED, for_job, notes
from labrun.config.experiments import compose
from labrun.launch.leases import Device, Pool
from labrun.launch.local import LocalExecutor
from labrun.runs import run_dir


@pytest.mark.parametrize(
    "name",
    [
        "ACCELERATE_MIXED_PRECISION",
        "ACCELERATE_USE_DEEPSPEED",
        "ACCELERATE_USE_FSDP",
        "ACCELERATE_USE_CPU",
        "ACCELERATE_DYNAMO_BACKEND",
        "ACCELERATE_GRADIENT_ACCUMULATION_STEPS",
        "FSDP_STATE_DICT_TYPE",
        "PARALLELISM_CONFIG_TP_SIZE",
        "OMPI_COMM_WORLD_SIZE",
        "PMI_SIZE",
        "TORCHELASTIC_RUN_ID",
        "NVIDIA_TF32_OVERRIDE",
        "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
        "PYTORCH_TUNABLEOP_ENABLED",
        "ONEDNN_DEFAULT_FPMATH_MODE",
        "ATEN_CPU_CAPABILITY",
        "XLA_USE_BF16",
        "USE_HUB_KERNELS",
        "FLASH_ATTENTION_DETERMINISTIC",
    ],
)
def test_a_variable_that_changes_numbers_is_dropped_and_noted(name):
    job = for_job({"PATH": "/bin", name: "1"})
    assert job == {"PATH": "/bin", DROPPED: json.dumps({name: "1"})}
    assert notes(job) == [f"the job was started without variables of the shell: {name}=1"]


@pytest.mark.parametrize(
    "name",
    [
        "HF_HOME",
        "TRANSFORMERS_CACHE",
        "TRANSFORMERS_VERBOSITY",
        "PYTORCH_CUDA_ALLOC_CONF",
        "TORCH_HOME",
        "TORCHINDUCTOR_CACHE_DIR",
        "NCCL_DEBUG",
        "CUDA_HOME",
        "VLLM_LOGGING_LEVEL",
        "LABRUN_HOME",
        "MUJOCO_GL",
        "OMP_NUM_THREADS",
    ],
)
def test_other_variables_reach_the_job_without_a_word(name):
    assert for_job({name: "1"}) == {name: "1"}
    assert notes({name: "1"}) == []


def test_what_a_launcher_set_by_hand_acts_and_is_noted():
    job = {"ACCELERATE_MIXED_PRECISION": "bf16", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    assert notes(job) == [
        "variables that may change numbers are set: ACCELERATE_MIXED_PRECISION=bf16, "
        "CUBLAS_WORKSPACE_CONFIG=:4096:8"
    ]
    assert for_job(job)["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_the_place_of_another_job_is_dropped_without_a_word():
    shell = {"RANK": "1", "WORLD_SIZE": "2", DROPPED: '{"A": "1"}', "HOME": "/root"}
    assert for_job(shell) == {"HOME": "/root"}


@pytest.mark.usefixtures("example")
def test_a_run_says_what_its_job_was_started_without(home, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    run = run_dir.create(compose(["plugin=example"]), root=home)
    LocalExecutor(Pool([Device("cpu", 0)], tmp_path / "leases")).drain([run], lambda: None)
    said = [event["message"] for event in run.events() if event["kind"] == "note"]
    assert said == [
        "the job was started without variables of the shell: ACCELERATE_MIXED_PRECISION=bf16"
    ]


@pytest.mark.usefixtures("example")
def test_a_worker_started_by_hand_keeps_its_variables_and_says_so(home):
    run = run_dir.create(compose(["plugin=example"]), root=home)
    shell = os.environ | {"ACCELERATE_MIXED_PRECISION": "bf16"}
    subprocess.run([sys.executable, "-m", "labrun.worker", str(run.path)], env=shell, check=True)
    said = [event["message"] for event in run.events() if event["kind"] == "note"]
    assert said == ["variables that may change numbers are set: ACCELERATE_MIXED_PRECISION=bf16"]
