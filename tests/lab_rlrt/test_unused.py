"""Settings that a method's plan calls unused change nothing; those of a method's own change it."""

from dataclasses import replace

import pytest
import torch
from lab_llm.training.rollouts import Rollouts
from lab_llm.training.run import train
from lab_rlrt.config import READERS, RLRTConfig
from lab_rlrt.methods import make_objective
from labrun import Setup
from labrun.config.components import build
from labrun.config.experiments import compose
from labrun.runs import run_dir
from labrun.runs.context import RunContext

SMALL = (
    "max_steps=2",
    "prompts_per_step=4",
    "num_generations=4",
    "micro_batch_size=8",
    "max_completion_length=24",
    "evaluate_start=false",
)
OTHER = {
    "lam": 0.1,
    "lam_warmup": 2,
    "lam_decay": 2,
    "eps_w": 0.3,
    "entropy_alpha": 1.5,
    "entropy_kappa": 1.1,
    "iw_gamma": 2.0,
    "dasd_beta": 1.0,
    "dasd_rho": 0.7,
    "epsilon": 0.001,
    "epsilon_high": 0.002,
    "dual_clip": 1.01,
    "loss_type": "dr_grpo",
    "scale_rewards": "none",
    "teacher_context": "answer",
    "teacher_copy_every": 1,
    "teacher_offload": "true",
    "distillation.weight": 0.5,
    "distillation.alpha": 1.0,
    "distillation.top_k": 3,
    "distillation.pointwise_clip": 0.01,
    "distillation.tail": "false",
    "distillation.ratio_clip": 0.5,
    "distillation.teacher": "ema",
    "distillation.ema_rate": 0.9,
    "distillation.ema_every": "batch",
    "distillation.reduction": "rollouts",
    "distillation.dont_reprompt_on_self_success": "false",
    "distillation.richness": "answer",
    "distillation.max_context_length": 3,
    "distillation.chunk_size": 7,
}
"""Key -> a value that is not its default."""
FOR_VLLM = {"vllm_importance_sampling", "vllm_importance_clip"}
"""Refused without a vLLM."""


def unused(*words: str) -> set[str]:
    parts = build(compose(["plugin=rlrt", *words]))
    return {*parts.trainer.plan(Setup(dataset=parts.dataset)).unused}


def weights(folder, *words: str) -> bytes:
    """The trained weights of two steps."""
    experiment = compose(["plugin=rlrt", "seed=1", *SMALL, *words])
    parts = build(experiment)
    run = run_dir.create(experiment, root=folder)
    context = RunContext(
        run=run, seed=1, attempt=0, devices=(), resume_from=None, keep_checkpoints=2
    )
    config = parts.trainer.config
    train(context, parts.dataset.sets, config, make_objective(config))
    return (run.artifacts / "model" / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("words", "some"),
    [
        (["method=grpo"], {"lam", "epsilon_high", "teacher_context", "distillation.weight"}),
        (["method=rlrt"], {"dual_clip", "iw_gamma", "distillation.top_k"}),
        (["method=entropy_shaped"], {"lam", "teacher_copy_every"}),
        (["method=sdpo"], {"lam", "loss_type", "scale_rewards", "distillation.ema_rate"}),
        (
            ["method=sdpo", "teacher_context=answer", "distillation.top_k=0"],
            {"distillation.dont_reprompt_on_self_success", "distillation.tail"},
        ),
    ],
)
def test_what_is_called_unused_changes_no_weight(tmp_path, words, some):
    idle = unused(*words)
    assert some <= idle
    changed = [f"{key}={OTHER[key]}" for key in sorted(idle - FOR_VLLM)]
    assert weights(tmp_path / "a", *words) == weights(tmp_path / "b", *words, *changed)


def test_the_clip_is_used_with_several_updates_of_a_batch():
    assert not {"epsilon", "epsilon_high", "dual_clip"} & unused("num_minibatches=2")


def test_a_mixture_uses_the_surrogates_settings():
    assert not {"loss_type", "scale_rewards"} & unused("method=sdpo", "distillation.weight=0.5")


@pytest.mark.parametrize("key", READERS)
def test_its_readers_advantages_change_with_a_key_and_no_others(key):
    for credit in ("rlsd", "following", "rlrt", "rlrt_all", "entropy_shaped", "iw_opd", "dasd"):
        before = advantages(RLRTConfig(credit=credit))
        after = advantages(replace(RLRTConfig(credit=credit), **{key: OTHER[key]}))
        assert torch.equal(before, after) == (credit not in READERS[key]), credit


def advantages(config: RLRTConfig) -> torch.Tensor:
    """Advantages (2, 4) of two rollouts of unequal rewards, with given entropies."""
    objective = make_objective(config)
    ids = torch.zeros(2, 5, dtype=torch.long)
    mask = torch.ones(2, 4)
    per_rollout = torch.tensor([1.0, -1.0])
    rollouts = objective.annotate(
        Rollouts(
            ids=ids,
            attention_mask=torch.ones_like(ids),
            loss_mask=mask,
            rewards=torch.tensor([1.0, 0.0]),
            rollout_advantages=per_rollout,
            advantages=per_rollout[:, None] * mask,
            num_tokens=mask.sum(),
            batches_before=1,
            student_logprobs=torch.tensor([[-0.1, -2.0, -1.0, -0.3], [-1.5, -0.2, -0.7, -3.0]]),
            teacher_logprobs=torch.tensor([[-1.1, -0.5, -1.4, -0.2], [-0.4, -1.2, -0.9, -1.0]]),
        )
    )
    if objective.advantages_at_update is None:
        return rollouts.advantages
    entropies = torch.tensor([[0.1, 1.2, 0.6, 0.2], [0.9, 0.3, 2.0, 0.4]])
    return objective.advantages_at_update(rollouts, entropies)
