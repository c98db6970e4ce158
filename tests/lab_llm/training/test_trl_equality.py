"""The surrogate gives what TRL's own, unmodified GRPOTrainer gives on the same rollouts."""

import copy
import dataclasses
import itertools
from dataclasses import replace

import pytest
import torch
from datasets import Dataset
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.policy import Policy
from lab_llm.policy.tokenizer_files import load_tokenizer
from lab_llm.problems import Problem, ProblemSets
from lab_llm.training.config import GRPOSettings
from lab_llm.training.microbatches import micro_batch_rows
from lab_llm.training.objective import Surrogate
from lab_llm.training.run import build_trainer, trl_config
from labrun.config.experiments import compose
from labrun.runs import run_dir
from labrun.runs.context import RunContext
from transformers import Qwen2Config, Qwen2ForCausalLM
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import add_fused_lm_head

SETTINGS = GRPOSettings(
    max_steps=2,
    prompts_per_step=2,
    num_generations=4,
    num_minibatches=2,
    micro_batch_size=2,
    max_completion_length=5,
    sampler="transformers",
)
PROMPTS = [[{"role": "user", "content": text}] for text in ("1 2 3", "4 5")]
COMPLETIONS = [[5, 6, 7, 8, 9], [6], [7, 8, 5], [8, 9], [5, 5, 6], [9, 8, 7, 6], [6, 5], [7, 7, 7]]
REWARDS = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.5]
RATE = 0.05
"""So large that the second step's ratios lie on both sides of the clips."""

LOSSES = ("dapo", "grpo", "dr_grpo")
SCALES = ("group", "batch", "none")
BETAS = (0.0, 0.1)
CLIPS = ((0.2, None, None), (0.02, 0.1, None), (0.02, None, 1.05))
"""(epsilon, epsilon_high, delta)"""
CHOICES = {
    torch.float64: dict.fromkeys(SCALES, CLIPS),
    torch.float32: {scale: (clip,) for scale, clip in zip(SCALES, CLIPS, strict=True)},
}
"""Scaling of the rewards -> the clips that it is tested with: every pair where the equations are
tested, and each once where only the rounding is another."""


def tiny(dtype: torch.dtype) -> Qwen2ForCausalLM:
    """Two layers with weights far from 0, so that log-probabilities differ between tokens."""
    torch.manual_seed(0)
    tokenizer = load_tokenizer(PolicyConfig())
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        initializer_range=0.2,
        tie_word_embeddings=True,
    )
    return Qwen2ForCausalLM(config).to(dtype)


def rewards(completion_ids, **_):
    return [REWARDS[COMPLETIONS.index(ids)] for ids in completion_ids]


def rollouts(prompts, trainer):
    """The same completions for both trainers."""
    ids = [trainer.processing_class.apply_chat_template(p, return_dict=False) for p in prompts]
    nothing = [[0.0] * len(completion) for completion in COMPLETIONS]
    return {"prompt_ids": ids, "completion_ids": COMPLETIONS, "logprobs": nothing}


class Pair:
    """TRL's trainer and ours, with equal weights and a reference model that differs."""

    def __init__(self, ctx: RunContext, dtype: torch.dtype) -> None:
        tokenizer = load_tokenizer(PolicyConfig())
        model = tiny(dtype)
        self.start = copy.deepcopy(model.state_dict())
        reference = tiny(dtype).requires_grad_(False)
        for parameter in reference.parameters():
            parameter.mul_(1.1)
        add_fused_lm_head(reference)
        self.rows = Dataset.from_dict(
            {"prompt": [p for p in PROMPTS for _ in range(4)], "index": [0] * 4 + [1] * 4}
        )
        self.trl = GRPOTrainer(
            model=copy.deepcopy(model),
            processing_class=tokenizer,
            reward_funcs=rewards,
            args=trl_config(ctx, SETTINGS),
            train_dataset=self.rows,
        )
        problems = [Problem(id=str(i), prompt=tuple(p), answer="1") for i, p in enumerate(PROMPTS)]
        sets = ProblemSets(train=problems, evaluation={}, verify=lambda *_: 0.0)
        self.ours = build_trainer(
            ctx, Policy(model, tokenizer), sets, SETTINGS, Surrogate(SETTINGS)
        )
        for trainer in (self.trl, self.ours):
            trainer.rollout_func, trainer.reward_funcs = rollouts, [rewards]
            trainer.ref_model = reference

    def choose(self, settings: GRPOSettings, delta: float | None) -> None:
        """Both begin anew with these settings."""
        high = settings.epsilon if settings.epsilon_high is None else settings.epsilon_high
        for trainer in (self.trl, self.ours):
            trainer.model.load_state_dict(self.start)
            trainer.model.train()
            trainer.beta, trainer.scale_rewards = settings.beta, settings.scale_rewards
            trainer._step = 0
        self.trl.loss_type, self.trl.args.delta = settings.loss_type, delta
        self.trl.epsilon_low, self.trl.epsilon_high = settings.epsilon, high
        self.ours.settings = settings
        self.ours.objective = Surrogate(dataclasses.replace(settings, dual_clip=delta))

    def deal(self) -> None:
        """TRL gets the rollouts in our micro-batches, and cuts nothing of their padding. Its
        advantages depend on `scale_rewards` and on no clip."""
        inputs = list(self.rows)
        output = self.trl._generate_and_score_completions(inputs)
        seed = self.ours.ctx.derive_seed("minibatch", 0)
        rows = micro_batch_rows(output["completion_mask"].sum(1), 2, 4, seed=seed)
        dealt = [{k: v[part] if v.dim() else v for k, v in output.items()} for part in rows]
        self.trl._prepare_inputs = lambda _: dealt[self.trl._step % 4]


def two_steps(trainer, inputs) -> list[torch.Tensor]:
    """Losses, gradient norms and, at the end, weights of two optimizer steps."""
    found: list[torch.Tensor] = []
    parameters = list(trainer.model.parameters())
    trainer.current_gradient_accumulation_steps = 2
    for _ in range(2):
        losses = [trainer.training_step(trainer.model, inputs, None) for _ in range(2)]
        norm = torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in parameters]))
        found += [sum(losses), norm]
        with torch.no_grad():
            for parameter in parameters:
                parameter.sub_(RATE * parameter.grad)
                parameter.grad = None
    return [*found, torch.cat([p.detach().flatten() for p in parameters])]


@pytest.fixture(scope="module", params=[torch.float64, torch.float32], ids=str)
def pair(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("trl")
    run = run_dir.create(compose(["plugin=rlrt", "method=grpo", "seed=1"]), root=root)
    ctx = RunContext(run=run, seed=1, attempt=0, devices=(), resume_from=None, keep_checkpoints=1)
    return Pair(ctx, request.param)


@pytest.mark.parametrize(("loss_type", "beta"), list(itertools.product(LOSSES, BETAS)))
def test_two_steps_are_those_of_trls_own_trainer(pair, loss_type, beta):
    tolerance = 1e-6 if pair.ours.model.dtype == torch.float64 else 1e-5
    clipped = []
    inputs = list(pair.rows)
    choices = CHOICES[pair.ours.model.dtype]
    for scale, (low, high, delta) in ((s, clip) for s, clips in choices.items() for clip in clips):
        settings = replace(
            SETTINGS,
            loss_type=loss_type,
            beta=beta,
            scale_rewards=scale,
            epsilon=low,
            epsilon_high=high,
        )
        pair.choose(settings, delta)
        if (low, high, delta) == choices[scale][0]:
            pair.deal()
        expected, got = two_steps(pair.trl, inputs), two_steps(pair.ours, inputs)
        for one, other in zip(got, expected, strict=True):
            scale_of = other.abs().max().clamp(min=1e-3)
            assert ((one - other).abs().max() / scale_of).item() < tolerance
        clipped.append(pair.ours.metrics.means["ratio_clip_fraction"][-1].value)
        names = {"entropy": "entropy", "ratio_clip_fraction": "clip_ratio/region_mean"}
        names |= {"kl": "kl"} if beta else {}
        for name, theirs in names.items():
            means = pair.trl._metrics["train"][theirs][-4:]
            ours = [mean.value for mean in pair.ours.metrics.means[name][-4:]]
            assert ours == pytest.approx(means, rel=1e-4)
    assert max(clipped) > 0.2
