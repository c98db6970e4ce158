"""Options that published code has: means, averages, truncated rollouts, long prompts."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from lab_llm.planning import grpo as grpo_plan
from lab_llm.planning import grpo_settings
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.tokenizer_files import load_tokenizer
from lab_llm.problems import Problem
from lab_llm.text.prompts import encode, with_short_prompts
from lab_llm.training.config import GRPOSettings, TeacherSettings
from lab_llm.training.distillation_config import DistillationConfig
from lab_llm.training.objective import Surrogate
from lab_llm.training.rollouts import Rollouts, TeacherSequences, unended, without
from lab_llm.training.self_distillation import SelfDistillation
from lab_llm.training.step_metrics import Mean, StepMetrics
from lab_llm.training.teacher import Teacher
from lab_llm.training.teacher_weights import (
    distilling_weights,
    remainders_of,
    scoring_weights,
)
from lab_llm.training.trainer import AfterStep, PolicyTrainer
from labrun import LabError
from transformers import PreTrainedConfig

TEACHER = Teacher(context="sibling", template="{prompt}{solution}", scored="every")
LENGTHS = (50, 10, 5, 20)


def rollouts(lengths=LENGTHS, has_context=(1.0, 1.0, 1.0, 0.0)) -> Rollouts:
    """Rollouts of these lengths after a prompt of one token; the last one has no context."""
    mask = (torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]).float()
    whole = torch.cat([torch.ones(len(lengths), 1), mask], 1).long()
    context = torch.tensor(has_context)
    return Rollouts(
        ids=whole,
        attention_mask=whole,
        loss_mask=mask,
        rewards=context,
        rollout_advantages=context,
        advantages=mask,
        num_tokens=mask.sum(),
        teacher=TeacherSequences(whole, whole, context, num_tokens=(mask.sum(1) * context).sum()),
    )


class Given:
    """A model of one layer whose hidden states are all alike, in one process and one part."""

    num_micro_batches = 1
    config = PreTrainedConfig()

    def __init__(self, states: torch.Tensor, told: torch.Tensor) -> None:
        self.head, self.states = torch.nn.Linear(4, 11), [states, told]

    def get_output_embeddings(self):
        return self.head

    def inside(self, loss):
        return loss(self)

    def hidden_states(self, *_, width):
        return self.states.pop(0)

    def most_calls(self, num_calls):
        return num_calls

    def share(self, num_tokens):
        return num_tokens

    def record(self, values, mask):
        pass


def token_weights(reduction: str) -> torch.Tensor:
    """The gradient's norm at each token (B, T): all divergences are alike, so it is a weight."""
    torch.manual_seed(0)
    batch = rollouts()
    states = torch.ones(4, 50, 4, requires_grad=True)
    config = DistillationConfig(teacher="live", reduction=reduction)
    objective = SelfDistillation(config, teacher=TEACHER, temperature=1.0)
    objective.loss(Given(states, torch.randn(4).expand(4, 50, 4)), batch).backward()
    return states.grad.norm(dim=-1)


def test_sdpos_mean_over_rollouts_weighs_short_ones_more():
    by_rollout, by_token = token_weights("rollouts"), token_weights("tokens")
    # 1/65 for each token against 1/4 of 1/50, 1/10 and 1/5: the fourth rollout counts as 0
    ratio = by_rollout[:3, 0] / by_token[:3, 0]
    expected = [0.005 * 65, 0.025 * 65, 0.05 * 65]
    assert ratio.tolist() == pytest.approx(expected, rel=1e-5)
    for norms in (by_rollout, by_token):
        assert not norms[3].any()
        assert norms[0, :50].tolist() == pytest.approx([norms[0, 0].item()] * 50)
        assert not norms[1, 10:].any()


@pytest.mark.parametrize(
    ("every", "expected"),
    [("step", 0.0975), ("batch", 0.05)],  # 1 - .95^2, and .05
)
def test_the_averaged_teacher_moves_once_a_step_or_once_a_batch(every, expected):
    config = DistillationConfig(teacher="ema", ema_every=every)
    weights = distilling_weights(TeacherSettings(distillation=config))
    assert taught(weights, num_steps=2) == pytest.approx([expected])


def taught(weights, *, num_steps):
    """The teacher's weight after each batch of two steps; it begins at 0, the student is at the
    number of the step."""
    teacher, student = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    torch.nn.init.constant_(teacher.weight, 0.0)
    weights.model, weights.remainders = teacher, remainders_of(teacher)
    objective = SelfDistillation(
        DistillationConfig(), teacher=TEACHER, temperature=1.0, teacher_weights=weights
    )
    trainer = SimpleNamespace(objective=objective, plain_model=student, steps_per_batch=2)
    found = []
    for step in range(1, num_steps + 1):
        torch.nn.init.constant_(student.weight, 1.0 if num_steps == 2 else float(step))
        AfterStep(trainer).on_step_end(None, SimpleNamespace(global_step=step), None)
        if step % 2 == 0:
            found.append(teacher.weight.item())
    return found


@pytest.mark.parametrize("weights_of", [distilling_weights, scoring_weights])
def test_a_teacher_that_is_copied_every_second_batch_has_the_policys_weights_of_then(weights_of):
    weights = weights_of(TeacherSettings(teacher_copy_every=2))
    assert taught(weights, num_steps=10) == [0.0, 4.0, 4.0, 8.0, 8.0]


def test_the_dual_clip_bounds_the_loss_of_a_bad_token_at_c():
    batch = replace(
        rollouts((2,), (1.0,)),
        advantages=torch.tensor([[-1.0, 1.0]]),
        old_logprobs=torch.tensor([[0.0, 0.0]]),
    )
    logprobs = torch.tensor([[5.0, 5.0]]).log()  # both ratios are 5

    class Passed(Given):
        def token_pass(self, _):
            return logprobs, torch.zeros_like(logprobs)

    for clip, loss in ((None, 5.0), (3.0, 3.0)):
        settings = GRPOSettings(dual_clip=clip, epsilon_high=0.28)
        got = Surrogate(settings).loss(Passed(logprobs, logprobs), batch)
        assert got.item() == pytest.approx((loss - 1.28) / 2)


def test_a_dual_clip_within_the_clip_is_refused():
    with pytest.raises(LabError, match=r"dual_clip=1.25 is not above the upper clip .* 1.28"):
        grpo_settings.plan(GRPOSettings(dual_clip=1.25, epsilon_high=0.28))
    grpo_settings.plan(GRPOSettings(dual_clip=3.0))


def test_a_rollout_without_an_end_token_leaves_the_loss_and_keeps_its_tokens():
    batch = rollouts((3, 2), (1.0, 1.0))
    ids = torch.tensor([[9, 5, 6, 7], [9, 5, 2, 0]])
    batch = replace(batch, ids=ids)
    assert unended(batch, [2]).tolist() == [True, False]
    assert unended(batch, [2, 7]).tolist() == [False, False]
    masked = without(batch, unended(batch, [2]))
    assert masked.loss_mask.tolist() == [[0, 0, 0], [1, 1, 0]]
    assert masked.advantages.tolist() == [[0, 0, 0], [1, 1, 0]]
    assert masked.lengths.tolist() == [3, 2]
    assert masked.num_tokens.item() == 2
    assert masked.rewards.tolist() == [1, 1]


def test_the_tokens_that_are_left_are_counted_over_all_processes():
    batch = replace(rollouts((3, 2), (1.0, 1.0)), ids=torch.tensor([[9, 5, 6, 7], [9, 5, 2, 0]]))
    five_elsewhere = SimpleNamespace(reduce=lambda own, reduction: own + 5)
    trainer = SimpleNamespace(
        settings=GRPOSettings(mask_truncated=True), eos_token_ids=[2], accelerator=five_elsewhere
    )
    assert PolicyTrainer._without_truncated(trainer, batch).num_tokens.item() == 2 + 5
    trainer.settings = GRPOSettings()
    assert PolicyTrainer._without_truncated(trainer, batch) is batch


def test_a_mean_over_tokens_weighs_each_alike_and_is_0_over_none():
    metrics = StepMetrics()
    for entropy, tokens in ((1.0, 1.0), (0.0, 0.0), (3.0, 3.0)):
        metrics.add("entropy", Mean(entropy, tokens))
        metrics.add("kl", Mean(0.0, 0.0))
    found = metrics.take({}, {}, seconds=1.0)
    assert (found["entropy"], found["kl"]) == (2.5, 0.0)
    assert "kl" not in metrics.take({}, {}, seconds=1.0)


def test_problems_with_long_prompts_are_left_out():
    tokenizer = load_tokenizer(PolicyConfig())
    problems = [
        Problem(str(i), ({"role": "user", "content": "1 " * size},), "1")
        for i, size in enumerate((1, 300, 20))
    ]
    sizes = [len(encode(tokenizer, problem.prompt)) for problem in problems]
    assert sizes[0] < sizes[2] < sizes[1]
    kept = with_short_prompts(tokenizer, problems, longest=sizes[2])
    assert [problem.id for problem in kept] == ["0", "2"]
    assert with_short_prompts(tokenizer, problems, longest=None) == problems
    with pytest.raises(LabError, match=r"max_prompt_length=1 leaves none of 3 training problems"):
        grpo_plan.short_prompts(tokenizer, problems, GRPOSettings(max_prompt_length=1))
