"""ZeRO-2 and ZeRO-3 by configuration, in one process on the CPU."""

import importlib.util
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("deepspeed"), reason="deepspeed is not installed (extra gpu)"
)
FILES = Path(__file__).parents[2] / "infra" / "deepspeed"
SMALL = ["plugin=rlrt", "max_steps=2", "save_every=1", "prompts_per_step=4", "num_generations=4"]
SMALL += ["micro_batch_size=8", "max_problems=2", "evaluate_every=0", "evaluate_start=false"]


@pytest.mark.parametrize(("stage", "sampler"), [("zero2", "cpu"), ("zero3", "transformers")])
def test_a_run_under_zero_ends_with_its_model_and_checkpoints(lab, home, stage, sampler):
    file = FILES / f"{stage}.json"
    done = lab("run", *SMALL, f"deepspeed={file}", f"sampler={sampler}", "max_retries=0")
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = home.glob("rlrt-*")
    assert (run / "artifacts" / "model" / "model.safetensors").exists()
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["00000001", "00000002"]
