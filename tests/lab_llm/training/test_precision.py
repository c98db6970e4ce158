"""Weights move under the rates of papers, whatever precision the products have."""

import pytest
import torch
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.policy import load_policy
from lab_llm.training.precision import check_precision, trained_model
from lab_llm.training.run import train
from lab_rlrt.config import RLRTConfig
from lab_rlrt.methods import make_objective
from labrun import LabError
from labrun.config.components import build
from labrun.config.experiments import compose
from labrun.runs import run_dir
from labrun.runs.context import RunContext

BFLOAT16 = PolicyConfig(dtype="bfloat16")
SMALL = {
    "credit": "grpo",
    "model": BFLOAT16,
    "max_steps": 3,
    "learning_rate": 1e-5,
    "prompts_per_step": 4,
    "num_generations": 4,
    "max_completion_length": 32,
    "save_every": 3,
    "evaluate_start": False,
}


def trained(root, **settings):
    """The policy after some steps of GRPO, and the run's context."""
    run = run_dir.create(compose(["plugin=rlrt", "method=grpo", "seed=1"]), root=root)
    ctx = RunContext(run=run, seed=1, attempt=0, devices=(), resume_from=None, keep_checkpoints=1)
    config = RLRTConfig(**{**SMALL, **settings})
    sets = build(compose(["plugin=rlrt"])).dataset.sets
    return train(ctx, sets, config, make_objective(config)).model, ctx


def share_moved(policy):
    """Share of the matrices' weights that are not those of the start."""
    start = dict(load_policy(BFLOAT16).model.named_parameters())
    whole = dict(load_policy(PolicyConfig()).model.named_parameters())
    moved = [
        (weight != (start if weight.dtype == torch.bfloat16 else whole)[name]).flatten()
        for name, weight in policy.model.named_parameters()
        if weight.dim() == 2
    ]
    return torch.cat(moved).float().mean().item()


def test_the_default_recipe_moves_as_many_weights_as_float32_and_plain_bfloat16_few(tmp_path):
    policy, _ = trained(tmp_path / "masters")
    assert policy.model.dtype == torch.float32
    masters = share_moved(policy)
    policy, _ = trained(tmp_path / "float32", model=PolicyConfig())
    whole = share_moved(policy)
    policy, _ = trained(tmp_path / "plain", master_weights="none")
    assert policy.model.dtype == torch.bfloat16
    plain = share_moved(policy)
    assert masters > 0.9
    assert masters == pytest.approx(whole, abs=0.02)
    assert plain < 0.3


def test_products_are_bfloat16_beside_float32_weights(tmp_path):
    losses = {}
    for dtype in ("float32", "bfloat16"):
        model = PolicyConfig(dtype=dtype)
        _, ctx = trained(tmp_path / dtype, model=model, max_steps=1, credit="sdpo")
        losses[dtype] = ctx.run.series()["entropy"][1]
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)


@pytest.mark.parametrize(
    ("dtype", "master_weights", "deepspeed", "loaded"),
    [
        ("float32", "float32", False, "float32"),
        ("bfloat16", "float32", False, "float32"),
        ("bfloat16", "float32", True, "bfloat16"),  # its masters are DeepSpeed's
        ("bfloat16", "none", False, "bfloat16"),
    ],
)
def test_weights_are_loaded_as_the_optimizer_needs_them(dtype, master_weights, deepspeed, loaded):
    model = PolicyConfig(dtype=dtype)
    found = trained_model(model, master_weights=master_weights, deepspeed=deepspeed)
    assert found == PolicyConfig(dtype=loaded)


def test_a_rate_that_bfloat16_weights_lose_is_refused_with_the_reason():
    plain = {"master_weights": "none", "deepspeed": False}
    with pytest.raises(LabError, match=r"learning_rate=1e-06 .* a weight of 0.02 moves by 0.00012"):
        check_precision(BFLOAT16, learning_rate=1e-6, **plain)
    weight = torch.tensor(0.02, dtype=torch.bfloat16)
    assert weight + 6e-5 == weight
    assert weight + 2.0**-13 > weight
    assert check_precision(BFLOAT16, learning_rate=5e-4, **plain)
    assert check_precision(PolicyConfig(), learning_rate=1e-6, **plain) == {}


def test_deepspeed_keeps_masters_whatever_the_key_says():
    with pytest.raises(LabError, match=r"but trainer\.deepspeed keeps float32 masters"):
        check_precision(BFLOAT16, learning_rate=1.0, master_weights="none", deepspeed=True)
    facts = check_precision(BFLOAT16, learning_rate=1.0, master_weights="float32", deepspeed=True)
    assert facts == {"master_weights": "float32; kept by DeepSpeed"}
