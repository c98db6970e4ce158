"""Self-distillation gives what TRL's own, unmodified trainers give on the same rollouts.

OPSD, which TRL does not have, gives its equation's value.
"""

import warnings
from collections import defaultdict
from dataclasses import replace
from types import MethodType, SimpleNamespace

import pytest
import torch
from lab_llm.training.objective import Objective, Surrogate
from lab_llm.training.rollouts import Rollouts, TeacherSequences
from lab_rlrt.config import RLRTConfig
from lab_rlrt.methods import make_objective
from labrun.config.components import build
from labrun.config.experiments import compose
from transformers import PreTrainedConfig

with warnings.catch_warnings():  # TRL calls all of these experimental
    warnings.simplefilter("ignore")
    from trl.experimental.iw_opd.iw_opd_trainer import IWOPDTrainer
    from trl.experimental.sdft.sdft_trainer import SDFTTrainer
    from trl.experimental.sdpo.sdpo_trainer import DistillationLogits, SDPOTrainer

NUM_TOKENS, WIDTH, VOCABULARY = (5, 3, 1), 5, 11
ADVANTAGES = (1.0, -1.0, 0.5)


class Given:
    """A model of one layer over given hidden states, in one process and one part."""

    num_micro_batches = 1
    config = PreTrainedConfig()

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.head = torch.nn.Linear(4, VOCABULARY)
        torch.nn.init.normal_(self.head.weight)
        self.student, self.teacher = torch.randn(2, len(NUM_TOKENS), WIDTH, 4)
        self.states, self.recorded = [self.student, self.teacher], {}

    def get_output_embeddings(self):
        return self.head

    def inside(self, loss):
        return loss(self)

    def hidden_states(self, *_, width):
        return self.states.pop(0)

    def token_pass(self, batch):
        logprobs = self.head(self.student).log_softmax(-1)
        entropies = -(logprobs.exp() * logprobs).sum(-1)
        return sampled(logprobs, batch), entropies

    def most_calls(self, num_calls):
        return num_calls

    def share(self, num_tokens):
        return num_tokens

    def record(self, values, mask):
        for name, value in values.items():
            self.recorded[name] = ((value * mask).sum() / mask.sum()).item()


def sampled(logprobs, batch):
    return logprobs.gather(2, batch.ids[:, -WIDTH:, None])[..., 0]


def rollouts() -> Rollouts:
    mask = (torch.arange(WIDTH)[None] < torch.tensor(NUM_TOKENS)[:, None]).float()
    whole = torch.cat([torch.ones(len(NUM_TOKENS), 1), mask], 1).long()
    torch.manual_seed(1)
    ids, advantages = torch.randint(VOCABULARY, whole.shape), torch.tensor(ADVANTAGES)
    return Rollouts(
        ids=ids,
        attention_mask=whole,
        loss_mask=mask,
        rewards=(advantages > 0).float(),
        rollout_advantages=advantages,
        advantages=advantages[:, None] * mask,
        num_tokens=mask.sum(),
        old_logprobs=-2.4 + torch.rand(mask.shape) / 2,
        teacher=TeacherSequences(ids, whole, torch.ones(len(NUM_TOKENS)), num_tokens=mask.sum()),
    )


def gradient(loss, given):
    given.head.zero_grad()
    loss.backward()
    return given.head.weight.grad.clone()


def trl_trainer(of, **args):
    """What the loss functions of a TRL trainer read of it."""
    settings = {
        "distillation_mode": "full_logits",
        "distillation_topk": None,
        "distillation_add_tail": False,
        "distillation_is_clip": None,
    }
    trainer = SimpleNamespace(
        args=SimpleNamespace(**settings | args),
        model=SimpleNamespace(training=True),
        accelerator=SimpleNamespace(gather=lambda value: value),
        current_gradient_accumulation_steps=1,
        use_teacher_server=False,
        teacher_model=None,
        importance_sampling_level="token",
        epsilon_low=0.2,
        epsilon_high=0.2,
        loss_type="grpo",
        _metrics={"train": defaultdict(list)},
    )
    for name in ("_compute_self_distillation_loss", "_compute_policy_loss"):
        if hasattr(of, name):
            setattr(trainer, name, MethodType(getattr(of, name), trainer))
    trainer._log_self_distillation_metric = lambda *_: None
    return trainer


def trl_loss(of, trainer, given, batch):
    """The loss of one micro-batch by TRL's `compute_loss`."""
    with torch.no_grad():
        teacher = given.head(given.teacher)
    ids = batch.ids[:, -WIDTH:]
    logits = DistillationLogits(
        ids, batch.loss_mask, batch.loss_mask, given.head(given.student), teacher
    )
    trainer._compute_teacher_student_logits = lambda *_: logits
    inputs = {
        "completion_ids": ids,
        "completion_mask": batch.loss_mask,
        "old_per_token_logps": batch.old_logprobs,
        "advantages": batch.rollout_advantages,
    }
    return of.compute_loss(trainer, trainer.model, inputs)


def config_of(method: str, *words: str) -> RLRTConfig:
    return build(compose(["plugin=rlrt", f"method={method}", *words])).trainer.config


def objective_of(config: RLRTConfig, given: Given) -> Objective:
    """The method's objective, whose teacher is the given one."""
    objective = make_objective(config)
    if objective.teacher_weights is not None:
        objective.teacher_weights.model = given
    return objective


@pytest.mark.parametrize(("method", "alpha"), [("sdft", 1.0), ("sdft_forward", 0.0)])
def test_sdft_is_trls(method, alpha):
    given, batch = Given(), rollouts()
    config = config_of(method, "distillation.reduction=rollouts")
    got = objective_of(config, given).loss(given, batch)
    trainer = trl_trainer(SDFTTrainer, distillation_alpha=alpha)
    expected = trl_loss(SDFTTrainer, trainer, given, batch)
    assert got.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(gradient(got, given), gradient(expected, given))


@pytest.mark.parametrize("weight", [0.25, 1.0])
def test_sdpo_mixed_with_the_policy_gradient_is_trls(weight):
    given, batch = Given(), rollouts()
    words = ("loss_type=grpo", "distillation.reduction=rollouts", "distillation.top_k=4")
    config = config_of("sdpo_grpo", *words, f"distillation.weight={weight}")
    got = objective_of(config, given).loss(given, batch)
    trainer = trl_trainer(
        SDPOTrainer,
        distillation_weight=weight,
        distillation_mode="topk_logits",
        distillation_topk=4,
        distillation_add_tail=True,
        distillation_alpha=0.5,
        distillation_is_clip=2.0,
    )
    expected = trl_loss(SDPOTrainer, trainer, given, batch)
    assert got.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(gradient(got, given), gradient(expected, given))
    assert ("ratio_clip_fraction" in given.recorded) == (weight < 1)


@pytest.mark.parametrize("reduction", ["tokens", "rollouts"])
def test_a_rollout_without_a_context_adds_nothing(reduction):
    """As if it had no tokens of its own; it counts among the rollouts all the same."""
    batch, found = rollouts(), []
    unseen = torch.tensor([1.0, 0.0, 1.0])
    assert batch.teacher is not None
    told = replace(batch.teacher, has_context=unseen, num_tokens=torch.tensor(6.0))
    for mask in (batch.loss_mask, batch.loss_mask * unseen[:, None]):
        given = Given()
        config = config_of("sdpo", f"distillation.reduction={reduction}")
        part = replace(batch, teacher=told, loss_mask=mask)
        loss = objective_of(config, given).loss(given, part)
        found.append((loss.item(), gradient(loss, given)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    torch.testing.assert_close(found[0][1], found[1][1])


@pytest.mark.parametrize("reduction", ["tokens", "rollouts"])
def test_rollouts_without_own_tokens_have_a_loss_of_0_and_a_backward_pass(reduction):
    """Ranks that share gradients wait for each other: each must go backward through the model. One
    position is compared, so that no kernel gets a tensor without rows."""
    given, batch = Given(), rollouts()
    seen: list[int] = []
    given.head.register_forward_hook(lambda _, states, __: seen.append(len(states[0])))
    nothing = replace(batch, loss_mask=torch.zeros_like(batch.loss_mask))
    given.states = [given.student.requires_grad_(), given.teacher]
    config = config_of("sdpo", f"distillation.reduction={reduction}")
    loss = objective_of(config, given).loss(given, nothing)
    loss.backward()
    assert loss.item() == 0
    assert set(seen) == {1}
    for weight in (given.head.weight, given.student):
        assert weight.grad is not None
        assert not weight.grad.any()


def test_the_mixture_is_the_weighted_sum_of_its_parts():
    batch, parts = rollouts(), []
    for weight in (0.3, 1.0):
        given = Given()
        config = config_of("sdpo", f"distillation.weight={weight}")
        parts.append(objective_of(config, given).loss(given, batch).item())
        entropy = given.recorded["entropy"]
    plain = Given()
    surrogate = Surrogate(config).loss(plain, batch).item()
    assert parts[0] == pytest.approx(0.7 * surrogate + 0.3 * parts[1], rel=1e-6)
    assert entropy == pytest.approx(plain.recorded["entropy"], rel=1e-5)


def test_opsd_is_the_forward_kl_whose_every_summand_is_clipped():
    given, batch = Given(), rollouts()
    got = objective_of(config_of("opsd"), given).loss(given, batch).item()
    p, q = (
        given.head(states).double().log_softmax(-1) for states in (given.student, given.teacher)
    )
    summands = (q.exp() * (q - p)).clamp(max=0.05)
    assert ((q.exp() * (q - p)) > 0.05).any()
    expected = (summands.sum(-1) * batch.loss_mask).sum() / batch.loss_mask.sum()
    assert got == pytest.approx(expected.item(), rel=1e-5)


def test_iw_opd_has_trls_gradient():
    given = Given()
    batch = replace(rollouts(), old_logprobs=None)
    with torch.no_grad():
        student, teacher = (
            sampled(given.head(states).log_softmax(-1), batch)
            for states in (given.student, given.teacher)
        )
    batch = replace(batch, student_logprobs=student, teacher_logprobs=teacher)
    objective = make_objective(config_of("iw_opd"))
    # while p_old is p itself, the surrogate's gradient is that of -A_t log p
    got = gradient(objective.loss(given, objective.annotate(batch)), given)
    trainer = SimpleNamespace(
        temperature=1.0,
        iw_opd_gamma=0.5,
        iw_opd_epsilon=1e-8,
        model=SimpleNamespace(training=True),
        _metrics={"train": defaultdict(list)},
    )
    tokens = batch.ids[:, -WIDTH:]
    labels = tokens.masked_fill(~batch.loss_mask.bool(), -100)
    logits = given.head(given.student)
    loss = IWOPDTrainer._compute_iw_opd_loss(trainer, logits, tokens, labels, teacher)
    torch.testing.assert_close(got, gradient(loss, given))
