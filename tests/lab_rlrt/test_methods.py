"""What a configuration makes of the method."""

import math

import pytest
import torch
from lab_llm.datasets.components import RowsDataset
from lab_llm.datasets.config import RowsConfig
from lab_llm.policy.config import PolicyConfig
from lab_llm.text.prompts import COUNTDOWN_TEMPLATE, SOLUTION_TEMPLATE
from lab_llm.training.rollouts import Rollouts
from lab_rlrt.config import RLRTConfig
from lab_rlrt.methods import make_objective
from lab_rlrt.trainer import RLRTTrainer
from labrun import LabError, Setup
from labrun.config.components import build
from labrun.config.experiments import compose


def template(**settings):
    return RLRTConfig(**settings).template


def test_the_countdown_template_is_the_tiny_models_alone():
    assert template() == COUNTDOWN_TEMPLATE
    assert template(model=PolicyConfig(name="smollm2")) == SOLUTION_TEMPLATE
    assert template(teacher_template="{solution}{prompt}") == "{solution}{prompt}"


def test_a_template_without_its_placeholders_is_refused_by_key():
    dataset = RowsDataset(RowsConfig())
    with pytest.raises(LabError, match=r"trainer\.teacher_template: .* must hold {solution} once"):
        RLRTTrainer(RLRTConfig(teacher_template="{prompt}")).plan(Setup(dataset=dataset))


@pytest.mark.parametrize(("teacher", "holds_a_copy"), [("frozen", True), ("live", False)])
def test_the_estimate_of_memory_counts_sdpos_own_teacher(teacher, holds_a_copy):
    experiment = compose(["plugin=rlrt", "method=sdpo", f"distillation.teacher={teacher}"])
    parts = build(experiment)
    facts = parts.trainer.plan(Setup(dataset=parts.dataset)).facts
    assert ("copies" in str(facts["gpu_memory_gib, 1 process"])) == holds_a_copy


@pytest.mark.parametrize(
    "credit", ["rlsd", "following", "rlrt", "rlrt_all", "entropy_shaped", "iw_opd", "dasd"]
)
def test_a_teacher_that_scores_may_be_a_copy_of_the_policy(credit):
    of_its_own = make_objective(RLRTConfig(credit=credit, teacher_copy_every=5)).teacher_weights
    assert make_objective(RLRTConfig(credit=credit)).teacher_weights is None
    if credit == "entropy_shaped":  # no teacher at all
        assert of_its_own is None
        return
    assert of_its_own is not None
    assert (of_its_own.movement.rate, of_its_own.movement.num_batches) == (1.0, 5)


@pytest.mark.parametrize(
    ("method", "share"),
    # eps_w 0.5: weights beyond [0.5, 1.5] are clipped. Over the correct rollout's two tokens one
    # of two is; with the wrong one's two, both of them clipped, three of four.
    [("following", 1 / 2), ("rlrt", 1 / 2), ("rlsd", 3 / 4), ("rlrt_all", 3 / 4)],
)
def test_the_clipped_share_is_over_the_rollouts_that_the_method_weighs(method, share):
    objective = make_objective(RLRTConfig(credit=method, eps_w=0.5))
    # D_t = log 4, log 1.25 | log 4, log 4 | log 4, log 4 (a group of equal rewards): a weight or
    # its inverse is 4, 1.25, or 1/4, 0.8, whatever the sign of the advantage
    student = torch.tensor([[4.0, 1.25], [4.0, 4.0], [4.0, 4.0]]).log()
    mask = torch.ones(3, 2)
    advantages = torch.tensor([1.0, -1.0, 0.0])
    ids = torch.zeros(3, 3, dtype=torch.long)
    rollouts = Rollouts(
        ids=ids,
        attention_mask=torch.ones_like(ids),
        loss_mask=mask,
        rewards=torch.tensor([1.0, 0.0, 1.0]),
        rollout_advantages=advantages,
        advantages=advantages[:, None] * mask,
        num_tokens=mask.sum(),
        student_logprobs=student,
        teacher_logprobs=torch.zeros(3, 2),
    )
    found = objective.measure(rollouts)
    weighed = 2 if method in ("following", "rlrt") else 4
    assert found["weight_clip_fraction"] == (pytest.approx(share), weighed)
    assert found["asymmetry_correct"] == (pytest.approx((math.log(4) + math.log(1.25)) / 2), 2)
