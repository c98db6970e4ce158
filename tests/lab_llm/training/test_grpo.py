"""The trainer on the shipped model: who is scored, what the loss sees, what the run records."""

import dataclasses
import itertools
import math
from pathlib import Path

import pytest
import torch
from lab_llm.grading.grades import Grades
from lab_llm.policy.policy import load_policy
from lab_llm.text.prompts import encode, with_solution
from lab_llm.training.advantages import rows_to_score
from lab_llm.training.run import build_trainer, prompt_order, train, trl_config, whole_batches
from lab_llm.training.step_metrics import LOGGED, TOKEN_MEANS
from lab_llm.training.teacher import GradedRollouts
from lab_rlrt.config import RLRTConfig
from lab_rlrt.methods import make_objective
from labrun import DivergedError, LabError, PreemptedError
from labrun.config.components import build
from labrun.config.experiments import compose
from labrun.runs import run_dir
from labrun.runs.context import RunContext

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
    return build(compose(["plugin=rlrt"])).dataset.sets


def trainer_of(ctx, sets, **settings):
    config = RLRTConfig(**{**SMALL, **settings})
    return build_trainer(ctx, load_policy(config.model), sets, config, make_objective(config))


def trained(ctx, sets, config):
    return train(ctx, sets, config, make_objective(config))


def first_batch(trainer):
    inputs = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    return inputs, trainer.rollouts(inputs)


def seed_of(trainer):
    """What draws the siblings of the step."""
    return trainer.teacher_prompts(trainer.objective.teacher).seed


def completions(rollouts):
    """The tokens of each rollout after its prompt."""
    tokens = rollouts.ids[:, -rollouts.width :]
    return [row[:length] for row, length in zip(tokens, rollouts.lengths.tolist(), strict=True)]


@pytest.mark.parametrize("method", ["grpo", "rlsd", "following", "rlrt", "rlrt_all"])
def test_the_teacher_scores_only_what_the_methods_weight_uses(ctx, sets, method):
    trainer = trainer_of(ctx, sets, credit=method)
    scored = []
    original = trainer.engine.score

    def counting(prompts, completions, width):
        scored.extend(completions)
        return original(prompts, completions, width)

    trainer.engine.score = counting
    first_batch(trainer)
    rewards = torch.tensor(trainer.graded.rewards).view(-1, 4)
    mixed = (rewards.mean(1) > 0) & (rewards.mean(1) < 1)
    correct = int(rewards[mixed].sum())
    everything = int(mixed.sum()) * 4
    assert 0 < correct < everything
    expected = {"grpo": 0, "rlsd": everything, "rlrt_all": everything}.get(method, correct)
    assert len(scored) == expected
    assert trainer.metrics.values["teacher_scored_fraction"] == [pytest.approx(expected / 24)]


def test_rlrts_advantages_are_the_equations_on_a_plain_forward_pass(ctx, sets):
    trainer = trainer_of(ctx, sets, credit="rlrt", lam=0.5, eps_w=1.0, temperature=0.7)
    inputs, rollouts = first_batch(trainer)
    rewards = torch.tensor(trainer.graded.rewards)
    advantages = (rewards.view(-1, 4) - rewards.view(-1, 4).mean(1, keepdim=True)) / (
        rewards.view(-1, 4).std(1, keepdim=True) + 1e-4
    )
    advantages = advantages.flatten()
    chosen = rows_to_score(rewards, advantages, "correct").nonzero()[:, 0].tolist()
    group = trainer.graded
    for row, completion in enumerate(completions(rollouts)):
        length = len(completion)
        got = rollouts.advantages[row]
        assert not got[length:].any()
        if row not in chosen:
            torch.testing.assert_close(got[:length], advantages[row].expand(length))
            continue
        problem = sets.train[inputs[row]["index"]]
        sibling = group.correct_sibling(row, seed_of(trainer))
        alone = problem.prompt
        student = logprobs(trainer, alone, completion)
        told = with_solution(alone, sibling, trainer.objective.teacher.template)
        teacher = logprobs(trainer, told, completion)
        weight = (student - teacher).exp().clamp(0.0, 2.0)
        expected = advantages[row] * (0.5 + 0.5 * weight)
        torch.testing.assert_close(got[:length], expected, atol=1e-4, rtol=1e-4)


def test_a_group_whose_best_reward_is_partial_has_no_sibling_and_no_weight(ctx, sets):
    trainer = trainer_of(ctx, sets, credit="rlrt_all")
    groups = [[1, 0.5, 0, 0], [0.5, 0, 0, 0], [0, 0, 0.5, 0.5], [1, 1, 1, 1], [0] * 4, [1, 0, 0, 0]]
    rewards = iter([float(reward) for group in groups for reward in group])
    trainer.rewards.sets = dataclasses.replace(sets, verify=lambda *_: next(rewards))
    _, rollouts = first_batch(trainer)
    assert trainer.metrics.values["teacher_scored_fraction"] == [pytest.approx(8 / 24)]
    # (0, 0, .5, .5): mean .25, deviation with ddof 1 .28868; A of the last is .25 / .28868
    got = rollouts.advantages[11]
    length = int(rollouts.lengths[11])
    assert got[:length].tolist() == pytest.approx([0.25 / (0.288675 + 1e-4)] * length, rel=1e-4)


@pytest.mark.parametrize("num_minibatches", [1, 2])
def test_log_p_s_is_what_the_decoder_recorded_for_any_number_of_updates(ctx, sets, num_minibatches):
    trainer = trainer_of(
        ctx, sets, credit="rlrt", num_minibatches=num_minibatches, micro_batch_size=4
    )
    _, rollouts = first_batch(trainer)
    assert (rollouts.old_logprobs is not None) == (num_minibatches > 1)
    assert rollouts.student_logprobs is rollouts.sampled_logprobs


def test_log_p_s_is_the_trainers_own_pass_where_log_p_t_is(ctx, sets):
    trainer = trainer_of(ctx, sets, credit="rlrt", sampler="transformers", temperature=0.7)
    inputs, rollouts = first_batch(trainer)
    # as vLLM returns, after its own rounding
    rollouts = dataclasses.replace(rollouts, sampled_logprobs=torch.zeros_like(rollouts.advantages))
    got = trainer.engine.student_logprobs(rollouts)
    for row in (0, 23):
        ids = completions(rollouts)[row]
        plain = logprobs(trainer, sets.train[inputs[row]["index"]].prompt, ids)
        torch.testing.assert_close(got[row, : len(ids)], plain, atol=1e-4, rtol=1e-4)


def test_an_evaluator_that_cannot_score_the_model_stops_the_run_before_its_first_step(ctx, sets):
    from lab_llm.evaluation.accuracy import AccuracyEvaluator
    from lab_llm.evaluation.config import AccuracyConfig

    ctx.evaluators = (AccuracyEvaluator(AccuracyConfig(max_new_tokens=1024)),)
    with pytest.raises(LabError, match=r"evaluator\.accuracy\.max_new_tokens=1024"):
        trained(ctx, sets, RLRTConfig(**SMALL))
    assert ctx.run.series() == {}


@pytest.mark.parametrize(
    ("setting", "correction", "mode"),
    [
        ("sequence_mask", True, "sequence_mask"),
        ("token_truncate", True, "token_truncate"),
        ("none", False, "sequence_mask"),
    ],
)
def test_trls_correction_for_vllm_is_a_setting(ctx, setting, correction, mode):
    settings = RLRTConfig(vllm_importance_sampling=setting, vllm_importance_clip=2.5)
    made = trl_config(ctx, settings)
    assert made.vllm_importance_sampling_correction is correction
    assert made.vllm_importance_sampling_mode == mode
    assert made.vllm_importance_sampling_clip_max == 2.5


@torch.no_grad()
def logprobs(trainer, prompt, completion):
    prompt_ids = encode(trainer.policy.tokenizer, prompt)
    ids = torch.tensor([[*prompt_ids, *completion.tolist()]])
    logits = trainer.policy.model(ids).logits[0, len(prompt_ids) - 1 : -1]
    logits = logits / trainer.settings.temperature
    return logits.log_softmax(-1)[range(len(completion)), completion]


def test_rlrt_and_grpo_sample_the_same_rollouts(ctx, sets):
    grpo, rlrt = (first_batch(trainer_of(ctx, sets, credit=name))[1] for name in ("grpo", "rlrt"))
    assert torch.equal(grpo.ids, rlrt.ids)


def test_every_step_samples_the_same_prompts_anew(ctx, sets):
    trainer = trainer_of(ctx, sets, credit="grpo", max_completion_length=16)
    prompts = [sets.train[0].prompt] * 4

    def rollouts(step):
        trainer.state.global_step = step
        return trainer.engine.sample(prompts, trainer)["completion_ids"]

    assert rollouts(0) == rollouts(0)
    assert rollouts(0) != rollouts(1)


def test_the_sibling_is_drawn_anew_for_every_step_and_group(ctx, sets):
    trainer = trainer_of(ctx, sets, credit="rlrt")
    # 12 groups of 4 correct rollouts: what the teacher reads beside the first of each
    group = GradedRollouts([str(i % 4) for i in range(48)], [1.0] * 48, 4)

    def siblings(step):
        trainer.state.global_step = step
        return [group.correct_sibling(row, seed_of(trainer)) for row in range(0, 48, 4)]

    assert siblings(3) == siblings(3)
    assert siblings(3) != siblings(4)
    assert set(siblings(3)) == {"1", "2", "3"}


def test_a_runs_metrics_are_the_documented_ones(ctx, sets):
    trained(ctx, sets, RLRTConfig(**SMALL))
    documented = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
    names = set(ctx.run.series())
    assert names >= {"reward", "pass_rate", "entropy", "completion_length", "epistemic_words"}
    assert names >= {"asymmetry_correct", "weight_clip_fraction", "time/sample", "time/teacher"}
    missing = [name for name in names if f"`{name}`" not in documented]
    assert not missing
    assert {*LOGGED.values(), *TOKEN_MEANS} - names == {"kl"}


@pytest.mark.parametrize("entropy_coef", [0.0, 0.5])
@pytest.mark.parametrize("loss_type", ["dapo", "grpo"])
def test_micro_batches_leave_the_steps_gradient_as_it_is(ctx, sets, loss_type, entropy_coef):
    settings = {"credit": "rlrt", "loss_type": loss_type, "entropy_coef": entropy_coef}
    whole, parts = (
        step_gradient(trainer_of(ctx, sets, micro_batch_size=size, **settings)) for size in (24, 4)
    )
    assert whole.norm() > 0.01
    assert (whole - parts).norm() < 1e-4 * whole.norm()


def test_the_entropy_bonus_is_the_mean_over_all_tokens_of_the_step(ctx, sets):
    plain = step_gradient(trainer_of(ctx, sets, credit="grpo", micro_batch_size=4))
    trainer = trainer_of(ctx, sets, credit="grpo", micro_batch_size=4, entropy_coef=0.5)
    bonus = step_gradient(trainer) - plain
    trainer.model.zero_grad()
    summed, tokens = torch.zeros(()), 0
    for part in trainer._micro_batches:
        logits = trainer.model(part.ids, attention_mask=part.attention_mask).logits
        logprobs = logits[:, -part.width - 1 : -1].log_softmax(-1)
        mask = part.loss_mask
        summed = summed - ((logprobs.exp() * logprobs).sum(-1) * mask).sum()
        tokens += int(mask.sum())
    (-0.5 * summed / tokens).backward()
    expected = flat_gradient(trainer.model)
    assert (bonus - expected).norm() < 1e-4 * expected.norm()


def step_gradient(trainer):
    """What one step's micro-batches accumulate, before clipping."""
    inputs = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    parts = trainer.args.gradient_accumulation_steps
    trainer.current_gradient_accumulation_steps = parts
    for _ in range(parts):
        trainer.training_step(trainer.model, inputs, None)
    return flat_gradient(trainer.model)


def flat_gradient(model):
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("scale_rewards", ["group", "batch"])
def test_a_group_is_uniform_when_its_rewards_are_equal(ctx, sets, scale_rewards):
    trainer = trainer_of(ctx, sets, credit="grpo", scale_rewards=scale_rewards)
    groups = [[1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 1]]
    rewards = iter([float(reward) for group in groups for reward in group])
    trainer.rewards.sets = dataclasses.replace(sets, verify=lambda *_: next(rewards))
    first_batch(trainer)
    assert trainer.metrics.values["uniform_group_fraction"] == [pytest.approx(2 / 6)]


def test_a_gradient_that_is_nan_ends_a_run_with_evaluation_as_diverged(ctx, sets, monkeypatch):
    from lab_llm.evaluation.accuracy import AccuracyEvaluator
    from lab_llm.evaluation.config import AccuracyConfig
    from lab_llm.training import trainer as grpo

    original = grpo.GRPOTrainer.compute_loss

    def broken(self, model, *args, **kwargs):
        # 0 with the derivative 0 * inf, so that the loss alone looks well.
        zero = (next(model.parameters()).sum() * 0).abs().sqrt()
        return original(self, model, *args, **kwargs) + zero

    ctx.evaluators = (AccuracyEvaluator(AccuracyConfig(max_problems=2)),)
    monkeypatch.setattr(grpo.GRPOTrainer, "compute_loss", broken)
    settings = RLRTConfig(**{**SMALL, "evaluate_every": 1})
    with pytest.raises(DivergedError, match="gradient norm is not finite at step 1"):
        trained(ctx, sets, settings)


def test_a_loss_that_is_not_finite_ends_the_run_with_its_checkpoint_kept(ctx, sets, monkeypatch):
    from lab_llm.training import trainer as grpo

    original = grpo.GRPOTrainer.compute_loss

    def broken(self, *args, **kwargs):
        loss = original(self, *args, **kwargs)
        return loss * math.nan if self.state.global_step == 1 else loss

    monkeypatch.setattr(grpo.GRPOTrainer, "compute_loss", broken)
    with pytest.raises(DivergedError, match="loss is nan at step 2"):
        trained(ctx, sets, RLRTConfig(**SMALL))
    assert [p.name for p in ctx.run.checkpoints.iterdir()] == ["00000001"]


def stopping(ctx, sets):
    """The problems with a verifier that asks the run to stop."""

    def verify(problem, completion):
        ctx.should_stop = True
        return sets.verify(problem, completion)

    return dataclasses.replace(sets, verify=verify)


def test_a_stop_in_a_step_is_answered_with_its_checkpoint(ctx, sets):
    settings = RLRTConfig(**{**SMALL, "max_steps": 5, "save_every": 5})
    with pytest.raises(PreemptedError, match="stopped at step 1 of 5"):
        trained(ctx, stopping(ctx, sets), settings)
    assert [p.name for p in ctx.run.checkpoints.iterdir()] == ["00000001"]


def test_a_stop_before_the_first_step_trains_nothing(ctx, sets):
    settings = RLRTConfig(**{**SMALL, "max_steps": 5, "save_every": 5})
    ctx.should_stop = True
    with pytest.raises(PreemptedError, match="stopped at step 0 of 5"):
        trained(ctx, sets, settings)
    assert ctx.run.series() == {}
    assert not list(ctx.run.checkpoints.iterdir())


@pytest.mark.parametrize("scale_rewards", ["group", "batch", "none"])
@pytest.mark.parametrize("reward", [0.1, 0.7, 1 / 3, 0.0, 1.0])
def test_equal_rewards_give_advantage_0_and_no_gradient(ctx, sets, reward, scale_rewards):
    trainer = trainer_of(
        ctx,
        sets,
        credit="rlrt_all",
        scale_rewards=scale_rewards,
        num_generations=8,
        prompts_per_step=2,
        max_completion_length=8,
    )
    trainer.rewards.sets = dataclasses.replace(sets, verify=lambda *_: reward)
    assert not step_gradient(trainer).any()
    assert not torch.cat([part.advantages.flatten() for part in trainer._micro_batches]).any()
    assert trainer.metrics.values["teacher_scored_fraction"] == [0.0]
    assert trainer.metrics.values["uniform_group_fraction"] == [1.0]


def test_equal_rewards_beside_mixed_ones_give_advantage_0(ctx, sets):
    trainer = trainer_of(ctx, sets, credit="grpo", scale_rewards="batch", prompts_per_step=2)
    rewards = iter([0.7] * 4 + [0.1, 0.1, 0.1, 0.7])
    trainer.rewards.sets = dataclasses.replace(sets, verify=lambda *_: next(rewards))
    _, rollouts = first_batch(trainer)
    assert not rollouts.advantages[:4].any()
    assert (rollouts.advantages[4:, 0].abs() > 0.1).all()


@pytest.mark.parametrize("reward", [None, "1", math.nan, math.inf, -1.0, 2, True])
def test_what_is_no_reward_ends_the_step_with_the_problems_name(ctx, sets, reward):
    trainer = trainer_of(ctx, sets, credit="rlrt", max_completion_length=4)
    rewards = iter([0.0, 1.0, 0.0, 1.0, reward])
    asked = []

    def verify(problem, _):
        asked.append(problem.id)
        return next(rewards)

    trainer.rewards.sets = dataclasses.replace(sets, verify=verify)
    with pytest.raises(
        LabError, match=r"^the verifier gave .* for countdown/.*; allowed: "
    ) as caught:
        first_batch(trainer)
    assert asked[-1] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_verifier_that_raises_ends_the_step_with_problem_and_completion(ctx, sets):
    trainer = trainer_of(ctx, sets, credit="rlrt", max_completion_length=4)

    def verify(problem, completion):
        raise KeyError("bad answer")

    trainer.rewards.sets = dataclasses.replace(sets, verify=verify)
    with pytest.raises(LabError, match=r"KeyError: 'bad answer' for countdown/.*, completion '"):
        first_batch(trainer)


def test_a_run_without_right_answers_and_evaluation_sets_is_warned_of_both(ctx, sets):
    from lab_llm.evaluation.accuracy import AccuracyEvaluator
    from lab_llm.evaluation.config import AccuracyConfig

    ctx.evaluators = (AccuracyEvaluator(AccuracyConfig()),)
    dead = dataclasses.replace(sets, verify=lambda *_: 0.0, evaluation={})
    settings = RLRTConfig(**{**SMALL, "max_steps": 1, "max_completion_length": 4})
    trained(ctx, dead, settings)
    warnings = [event["message"] for event in ctx.run.events() if event.get("warning")]
    assert [text.partition(" (")[0] for text in warnings] == [
        "the data have no evaluation set: nothing is scored",
        "reward 0 at every step",
        "the gradient was 0 at every step",
    ]
    assert ctx.run.series()["grad_norm"] == {1: 0.0}


class Late:
    """A grader that runs out of time at every fourth completion."""

    def __call__(self, problem, completion):
        raise AssertionError("one by one")

    def grade_all(self, problems, completions):
        late = [i % 4 == 0 for i in range(len(problems))]
        return Grades([float(not one) for one in late], late)


def test_a_step_is_graded_at_once_and_counts_what_ran_out_of_time(ctx, sets):
    trainer = trainer_of(ctx, sets, credit="grpo", max_completion_length=4)
    trainer.rewards.sets = dataclasses.replace(sets, verify=Late())
    first_batch(trainer)
    assert trainer.metrics.values["grading_timeout_fraction"] == [0.25]
    assert trainer.metrics.values["pass_rate"] == [0.75]


def test_training_reads_the_texts_of_the_ids_whatever_the_parser_of_responses_leaves(ctx, sets):
    trainer = trainer_of(ctx, sets, credit="rlrt")
    tokenizer = trainer.policy.tokenizer
    texts = ["maybe wait wait ans 1", "wait hmm", "ans 2", "1"]
    ids = [[*tokenizer.encode(text), tokenizer.eos_token_id] for text in texts]
    parsed = [[{"role": "assistant", "content": ""}] for _ in texts]
    trainer.rewards.grade(completions=parsed, completion_ids=ids, index=[0, 0, 1, 1], prompts=[])
    assert trainer.rewards.texts == texts
    assert trainer.metrics.values["epistemic_words"] == [5 / 4]


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


def test_an_empty_training_set_is_refused(ctx):
    with pytest.raises(LabError, match="training set is empty"):
        list(prompt_order(ctx, 0, RLRTConfig()))


def test_an_entropy_shaped_advantage_reads_the_entropy_of_the_update_itself(ctx, sets):
    trainer = trainer_of(ctx, sets, credit="entropy_shaped", micro_batch_size=4, loss_type="grpo")
    got = step_gradient(trainer)
    trainer.model.zero_grad()
    loss = torch.zeros(())
    for part in trainer._micro_batches:
        logits = trainer.model(part.ids, attention_mask=part.attention_mask).logits
        logprobs = logits[:, -part.width - 1 : -1].log_softmax(-1)
        entropy = -(logprobs.exp() * logprobs).sum(-1).detach()
        plain = part.advantages
        shaped = plain + torch.minimum(0.4 * entropy, plain.abs() / 2)
        mask = part.loss_mask
        sampled = logprobs.gather(2, part.ids[:, -part.width :, None])[..., 0]
        loss = loss - ((sampled * shaped * mask).sum(1) / mask.sum(1)).sum() / 24
    loss.backward()
    expected = flat_gradient(trainer.model)
    assert (got - expected).norm() < 1e-4 * expected.norm()


def test_two_steps_of_a_batch_use_each_rollout_once_and_clip_the_ratio(ctx, sets):
    settings = {**SMALL, "num_minibatches": 2, "micro_batch_size": 4, "learning_rate": 5e-3}
    config = RLRTConfig(**settings, credit="grpo", epsilon=1e-4)
    trained(ctx, sets, config)
    series = ctx.run.series()
    assert sorted(series["reward"]) == [1]
    assert sorted(series["loss"]) == [1, 2]
    assert series["ratio_clip_fraction"][1] == 0.0
    assert series["ratio_clip_fraction"][2] > 0.1


def test_checkpoints_are_taken_between_batches_of_rollouts(ctx):
    settings = RLRTConfig(num_minibatches=4, save_every=6, max_steps=40)
    assert whole_batches(6, settings) == 8
    assert trl_config(ctx, settings).save_steps == 8


def test_a_step_of_truncated_rollouts_has_loss_0_and_a_note(ctx, sets):
    trainer = trainer_of(
        ctx, sets, credit="grpo", max_steps=1, max_completion_length=2, mask_truncated=True
    )
    trainer.rewards.sets = dataclasses.replace(sets, verify=rewards_in_turn(1.0, 0.0))
    trainer.train()
    series = ctx.run.series()
    assert series["truncated_fraction"][1] == 1.0
    assert (series["loss"][1], series["grad_norm"][1]) == (0.0, 0.0)
    (note,) = [event["message"] for event in ctx.run.events() if event["kind"] == "note"]
    assert note.startswith("step 1: every rollout was truncated")


def rewards_in_turn(*values):
    """A verifier that ends in no group of equal rewards."""
    turn = itertools.cycle(values)
    return lambda *_: next(turn)
