"""The published baselines train on the shipped model, and resume as if there was no stop."""

import dataclasses

import pytest
from lab_llm.training.run import train
from lab_rlrt.methods import make_objective
from labrun import PreemptedError
from labrun.config.components import build
from labrun.config.experiments import compose
from labrun.runs import run_dir
from labrun.runs.context import RunContext

METHODS = ("sdpo_grpo", "opsd", "sdft", "sdft_forward", "rlsd_decay", "iw_opd", "dasd")
SMALL = (
    "max_steps=2",
    "prompts_per_step=4",
    "num_generations=4",
    "micro_batch_size=8",
    "max_completion_length=24",
    "save_every=1",
    "evaluate_start=false",
)
EXTRA = {"rlsd_decay": ("lam_warmup=1", "lam_decay=1"), "sdft": ("distillation.ema_rate=0.5",)}


def context(root, experiment) -> RunContext:
    run = run_dir.create(experiment, root=root)
    return RunContext(run=run, seed=1, attempt=0, devices=(), resume_from=None, keep_checkpoints=2)


@pytest.mark.parametrize("method", METHODS)
def test_a_baseline_trains_and_resumes_to_the_same_weights(tmp_path, method):
    words = ("plugin=rlrt", f"method={method}", "seed=1", *SMALL, *EXTRA.get(method, ()))
    experiment = compose(words)
    parts = build(experiment)
    sets, config = parts.dataset.sets, parts.trainer.config
    whole, parted = (context(tmp_path / name, experiment) for name in ("whole", "parted"))
    train(whole, sets, config, make_objective(config))

    def stopping(problem, completion):
        parted.should_stop = True
        return sets.verify(problem, completion)

    stopped = dataclasses.replace(sets, verify=stopping)
    with pytest.raises(PreemptedError, match="stopped at step 1 of 2"):
        train(parted, stopped, config, make_objective(config))
    parted.should_stop, parted.resume_from = False, parted.run.checkpoints / "00000001"
    train(parted, sets, config, make_objective(config))
    series = [ctx.run.series() for ctx in (whole, parted)]
    for name in ("loss", "grad_norm", "lam"):
        assert series[0].get(name) == series[1].get(name)
    assert all(norm > 0 for norm in series[0]["grad_norm"].values())
    if method == "rlsd_decay":
        assert series[0]["lam"] == {1: 0.0, 2: 0.5}
    weights = [
        (ctx.run.artifacts / "model" / "model.safetensors").read_bytes() for ctx in (whole, parted)
    ]
    assert weights[0] == weights[1]
