"""The trainer on the shipped model: who is scored, what the loss sees, what the run records."""

import math
from pathlib import Path

import pytest
import torch
from lab_llm.credit import rows_to_score
from lab_llm.grpo import LOGGED
from lab_llm.grpo_run import build_trainer, preflight, prompt_order, train
from lab_llm.policy import load_policy
from lab_llm.templates import encode, with_solution
from lab_rlrt.config import RLRTConfig
from lab_rlrt.credit import make_credit
from labrun import DivergedError, LabError, PreemptedError, run_dir
from labrun.config import compose
from labrun.context import RunContext
from labrun.parts import build

SMALL = {
    "max_steps": 2,
    "prompts_per_step": 6,
    "num_generations": 4,
    "micro_batch_size": 8,
    "save_every": 1,
    "evaluate_start": False,
}


@pytest.fixture
def ctx(tmp_path) -> RunContext:
    run = run_dir.create(compose(["plugin=rlrt", "seed=1"]), root=tmp_path)
    return RunContext(run=run, seed=1, attempt=0, devices=(), resume_from=None, keep_checkpoints=2)


@pytest.fixture(scope="module")
def sets():
    return build(compose(["plugin=rlrt"])).dataset.load(None)


def trainer_of(ctx, sets, **settings):
    config = RLRTConfig(**{**SMALL, **settings})
    return build_trainer(ctx, load_policy(config.model), sets, config, make_credit(config))


def first_batch(trainer):
    inputs = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    return inputs, trainer._generate_and_score_completions(inputs)


@pytest.mark.parametrize("method", ["grpo", "rlsd", "following", "rlrt", "rlrt_all"])
def test_the_teacher_scores_only_what_the_methods_weight_uses(ctx, sets, method):
    trainer = trainer_of(ctx, sets, credit=method)
    scored = []
    original = trainer._score

    def counting(prompts, completions, width):
        scored.extend(completions)
        return original(prompts, completions, width)

    trainer._score = counting
    first_batch(trainer)
    rewards = trainer._graded[1].view(-1, 4)
    mixed = (rewards.mean(1) > 0) & (rewards.mean(1) < 1)
    correct = int(rewards[mixed].sum())
    everything = int(mixed.sum()) * 4
    assert 0 < correct < everything
    expected = {"grpo": 0, "rlsd": everything, "rlrt_all": everything}.get(method, correct)
    assert len(scored) == expected
    assert trainer.step_metrics["teacher_scored_fraction"] == [pytest.approx(expected / 24)]


def test_rlrts_advantages_are_the_equations_on_a_plain_forward_pass(ctx, sets):
    trainer = trainer_of(ctx, sets, credit="rlrt", lam=0.5, eps_w=1.0)
    inputs, output = first_batch(trainer)
    rewards = trainer._graded[1]
    advantages = (rewards.view(-1, 4) - rewards.view(-1, 4).mean(1, keepdim=True)) / (
        rewards.view(-1, 4).std(1, keepdim=True) + 1e-4
    )
    advantages = advantages.flatten()
    chosen = rows_to_score(rewards, advantages, "correct").nonzero()[:, 0].tolist()
    group = trainer_group(trainer)
    for row in range(24):
        length = int(output["completion_mask"][row].sum())
        got = output["advantages"][row]
        assert not got[length:].any()
        if row not in chosen:
            torch.testing.assert_close(got[:length], advantages[row].expand(length))
            continue
        problem = sets.train[inputs[row]["index"]]
        sibling = group.correct_sibling(row, trainer._group_rng)
        alone = problem.prompt
        student = logprobs(trainer, alone, output["completion_ids"][row, :length])
        told = with_solution(alone, sibling, trainer.credit.template)
        teacher = logprobs(trainer, told, output["completion_ids"][row, :length])
        weight = (student - teacher).exp().clamp(0.0, 2.0)
        expected = advantages[row] * (0.5 + 0.5 * weight)
        torch.testing.assert_close(got[:length], expected, atol=1e-4, rtol=1e-4)


def trainer_group(trainer):
    from lab_llm.teacher import Group

    texts, rewards = trainer._graded
    return Group(texts, rewards.tolist(), trainer.num_generations)


@torch.no_grad()
def logprobs(trainer, prompt, completion):
    prompt_ids = encode(trainer.policy.tokenizer, prompt)
    ids = torch.tensor([[*prompt_ids, *completion.tolist()]])
    logits = trainer.policy.model(ids).logits[0, len(prompt_ids) - 1 : -1]
    return logits.log_softmax(-1)[range(len(completion)), completion]


def test_rlrt_and_grpo_sample_the_same_rollouts(ctx, sets):
    grpo, rlrt = (first_batch(trainer_of(ctx, sets, credit=name))[1] for name in ("grpo", "rlrt"))
    assert torch.equal(grpo["completion_ids"], rlrt["completion_ids"])


def test_a_runs_metrics_are_the_documented_ones(ctx, sets):
    train(ctx, sets, RLRTConfig(**SMALL), make_credit(RLRTConfig()))
    documented = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    names = set(ctx.run.series())
    assert names >= {"reward", "pass_rate", "entropy", "completion_length", "epistemic_words"}
    assert names >= {"asymmetry_correct", "weight_clip_fraction", "time/sample", "time/teacher"}
    missing = [name for name in names if f"`{name}`" not in documented]
    assert not missing
    assert set(LOGGED.values()) - names == {"kl"}


def test_trimming_and_sorting_micro_batches_leave_the_gradient_as_it_is(ctx, sets):
    gradients = []
    for micro_batch_size in (24, 4):
        trainer = trainer_of(ctx, sets, credit="rlrt", micro_batch_size=micro_batch_size)
        trainer.train()  # sets up the accelerator; the two optimizer steps see equal rollouts
        gradients.append([p.detach().clone() for p in trainer.model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=2e-4, rtol=0)


def test_a_loss_that_is_not_finite_ends_the_run_with_its_checkpoint_kept(ctx, sets, monkeypatch):
    from lab_llm import grpo

    original = grpo.GRPOTrainer.compute_loss

    def broken(self, *args, **kwargs):
        loss = original(self, *args, **kwargs)
        return loss * math.nan if self.state.global_step == 1 else loss

    monkeypatch.setattr(grpo.GRPOTrainer, "compute_loss", broken)
    with pytest.raises(DivergedError, match="loss is nan at step 2"):
        train(ctx, sets, RLRTConfig(**SMALL), make_credit(RLRTConfig()))
    assert [p.name for p in ctx.run.checkpoints.iterdir()] == ["00000001"]


def test_a_stop_is_answered_with_a_checkpoint(ctx, sets):
    settings = RLRTConfig(**{**SMALL, "max_steps": 5, "save_every": 5})
    ctx.should_stop = True
    with pytest.raises(PreemptedError, match="stopped at step 1 of 5"):
        train(ctx, sets, settings, make_credit(settings))
    assert [p.name for p in ctx.run.checkpoints.iterdir()] == ["00000001"]


def test_prompts_come_in_whole_epochs_of_fresh_order(ctx):
    settings = RLRTConfig(max_steps=5, prompts_per_step=4)
    order = list(prompt_order(ctx, 7, settings))
    assert len(order) == 20
    assert sorted(order[:7]) == sorted(order[7:14]) == list(range(7))
    assert order[:7] != order[7:14]
    assert order == list(prompt_order(ctx, 7, settings))


def test_the_same_prompts_for_every_method_and_others_for_another_seed(ctx):
    settings = RLRTConfig(max_steps=2, prompts_per_step=4)
    before = list(prompt_order(ctx, 100, settings))
    ctx.seed = 2
    assert before != list(prompt_order(ctx, 100, settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"micro_batch_size": 7}, "does not divide a step's 256 rollouts"),
        ({"sampler": "vllm"}, "vllm is not installed"),
        ({"deepspeed": "nowhere.json"}, "nowhere.json: no such file"),
        ({"max_completion_length": 4096}, "leaves no room for a prompt"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(settings, message):
    with pytest.raises(LabError, match=message):
        preflight(RLRTConfig(**settings))


def test_an_empty_training_set_is_refused(ctx):
    with pytest.raises(LabError, match="training set is empty"):
        list(prompt_order(ctx, 0, RLRTConfig()))
