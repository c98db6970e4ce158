"""The distillation loss against values worked out by hand and against the reference file."""

import json
import math
import os
from pathlib import Path

import pytest
import torch
from lab_llm.training.distillation import (
    compare_hidden,
    compared,
    distillation_loss,
    divergence,
    importance_weight,
    with_tail,
)

OWN = Path(__file__).parents[2] / "golden" / "sdpo_loss.json"
GOLDEN = json.loads(Path(os.environ.get("SDPO_GOLDEN", OWN)).read_text())["cases"]


def tensor(values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("case", GOLDEN, ids=range(len(GOLDEN)))
def test_the_loss_equals_the_reference(case):
    student, teacher = tensor(case["student_logprobs"]), tensor(case["teacher_logprobs"])
    tokens = torch.tensor(case["tokens"])
    shape = tokens.shape
    pair = compared(
        student.flatten(0, 1),
        teacher.flatten(0, 1),
        top_k=case["topk"] or 0,
        tail=case["add_tail"],
    )
    found = divergence(*pair, alpha=case["alpha"]).view(shape)
    sampled = student.gather(2, tokens[..., None])[..., 0].flatten()
    old = tensor(case["old_logprobs_of_tokens"]).flatten()
    weight = importance_weight(sampled, old, clip=case["is_clip"]).view(shape)
    mask, has_context = tensor(case["completion_mask"]), tensor(case["has_teacher_context"])
    loss = distillation_loss(found, weight, mask, has_context)
    assert loss.item() == pytest.approx(case["loss"], abs=1e-6)


def test_alpha_chooses_the_direction_of_the_divergence():
    p, q = tensor([[0.5, 0.5]]).log(), tensor([[0.25, 0.75]]).log()
    forward = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)  # KL(q || p)
    reverse = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)  # KL(p || q)
    assert divergence(p, q, alpha=0.0).item() == pytest.approx(forward)
    assert divergence(p, q, alpha=1.0).item() == pytest.approx(reverse)
    # m = .7 p + .3 q = (.425, .575)
    mixed = 0.7 * (0.5 * math.log(0.5 / 0.425) + 0.5 * math.log(0.5 / 0.575))
    mixed += 0.3 * (0.25 * math.log(0.25 / 0.425) + 0.75 * math.log(0.75 / 0.575))
    assert divergence(p, q, alpha=0.3).item() == pytest.approx(mixed)


def test_each_summand_of_a_divergence_is_clipped_above_and_those_have_no_gradient():
    p, q = tensor([[0.5, 0.3, 0.2]]).log().requires_grad_(), tensor([[0.1, 0.6, 0.3]]).log()
    # KL(q || p): .1 log .2 = -.161, .6 log 2 = .416, .3 log 1.5 = .122
    first, third = 0.1 * math.log(0.2), 0.3 * math.log(1.5)
    found = divergence(p, q, alpha=0.0, clip=0.15)
    assert found.item() == pytest.approx(first + 0.15 + third)
    found.backward()
    # d/dlog p is -q where nothing was cut
    torch.testing.assert_close(p.grad, tensor([[-0.1, 0.0, -0.3]]))
    assert divergence(p, q, alpha=0.0, clip=0.05).item() == pytest.approx(first + 0.1)
    assert divergence(p, q, alpha=1.0, clip=0.1).item() == pytest.approx(
        0.1 + 0.3 * math.log(0.5) + 0.2 * math.log(2 / 3)
    )


def test_equal_distributions_have_no_divergence_and_the_teacher_no_gradient():
    p = torch.randn(3, 5, dtype=torch.float64).log_softmax(-1)
    for alpha in (0.0, 0.4, 1.0):
        assert divergence(p, p, alpha=alpha).abs().max() < 1e-12
    teacher = torch.randn(3, 5, dtype=torch.float64).log_softmax(-1).requires_grad_()
    student = p.clone().requires_grad_()
    divergence(student, teacher, alpha=0.5).sum().backward()
    assert teacher.grad is None
    assert student.grad is not None


def test_the_students_top_tokens_are_compared_with_the_rest_as_one():
    p, q = tensor([[0.1, 0.6, 0.3]]).log(), tensor([[0.7, 0.2, 0.1]]).log()
    student, teacher = compared(p, q, top_k=2, tail=True)
    torch.testing.assert_close(student.exp(), tensor([[0.6, 0.3, 0.1]]))
    torch.testing.assert_close(teacher.exp(), tensor([[0.2, 0.1, 0.7]]))
    student, teacher = compared(p, q, top_k=2, tail=False)
    torch.testing.assert_close(student.exp(), tensor([[2 / 3, 1 / 3]]))
    torch.testing.assert_close(teacher.exp(), tensor([[2 / 3, 1 / 3]]))
    torch.testing.assert_close(compared(p, q, top_k=3, tail=True)[0], p)
    torch.testing.assert_close(compared(p, q, top_k=0, tail=False)[1], q)
    logits = compared(p + 3.0, q - 2.0, top_k=2, tail=True)
    torch.testing.assert_close(logits, compared(p, q, top_k=2, tail=True))


def test_a_tail_without_probability_stays_finite_in_float32():
    logprobs = torch.tensor([[0.6, 0.4]]).log().requires_grad_()
    tail = with_tail(logprobs)
    tail.sum().backward()
    assert tail.isfinite().all()
    assert logprobs.grad is not None
    assert logprobs.grad.isfinite().all()


def test_the_importance_weight_is_clipped_above_only_and_detached():
    logprobs = tensor([0.0, math.log(0.3), math.log(0.1)]).requires_grad_()
    old = tensor([math.log(0.1), math.log(0.2), math.log(0.4)])
    # ratios 10, 1.5, .25
    weight = importance_weight(logprobs, old, clip=2.0)
    torch.testing.assert_close(weight, tensor([2.0, 1.5, 0.25]))
    assert not weight.requires_grad
    torch.testing.assert_close(importance_weight(logprobs, old, clip=None), tensor([1.0] * 3))


def test_only_tokens_of_rollouts_with_a_context_are_averaged():
    divergences = tensor([[1.0, 2.0, 9.0], [4.0, 5.0, 6.0]])
    mask = tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    ones = torch.ones_like(mask)
    assert distillation_loss(divergences, ones, mask, tensor([1.0, 0.0])).item() == 1.5
    assert distillation_loss(divergences, 2 * ones, mask, tensor([1.0, 0.0])).item() == 3.0
    part = distillation_loss(divergences, ones, mask, tensor([1.0, 0.0]), num_tokens=tensor(6.0))
    assert part.item() == 0.5
    assert distillation_loss(divergences, ones, mask, tensor([0.0, 0.0])).item() == 0.0


@pytest.mark.parametrize("chunk_size", [2, 100])
def test_chunks_give_the_whole_vocabularys_values_and_gradients(chunk_size):
    torch.manual_seed(0)
    head, frozen = torch.nn.Linear(4, 11, bias=False), torch.nn.Linear(4, 11, bias=False)
    student, teacher = torch.randn(5, 4, requires_grad=True), torch.randn(5, 4)
    tokens = torch.tensor([0, 3, 10, 2, 2])
    found = compare_hidden(
        student,
        teacher,
        tokens,
        heads=(head, frozen),
        temperature=0.5,
        alpha=0.3,
        top_k=4,
        tail=True,
        chunk_size=chunk_size,
    )
    found.divergences.sum().backward()
    got = [head.weight.grad.clone(), student.grad.clone()]
    head.zero_grad()
    student.grad = None
    p, q = (head(student) / 0.5).log_softmax(-1), (frozen(teacher) / 0.5).log_softmax(-1)
    expected = divergence(*compared(p, q, top_k=4, tail=True), alpha=0.3)
    expected.sum().backward()
    torch.testing.assert_close(found.divergences, expected)
    torch.testing.assert_close(got, [head.weight.grad, student.grad])
    assert frozen.weight.grad is None
    torch.testing.assert_close(found.logprobs, p[range(5), tokens])
    torch.testing.assert_close(found.entropies, -(p.exp() * p).sum(-1))


@pytest.mark.parametrize(("chunk_size", "own_chunks"), [(1, 5), (3, 2), (8, 1)])
def test_ranks_of_unequal_chunks_call_the_heads_equally_often(chunk_size, own_chunks):
    calls = []

    class Head(torch.nn.Linear):
        def forward(self, hidden):
            calls.append(len(hidden))
            return super().forward(hidden)

    torch.manual_seed(0)
    head, frozen = Head(4, 11, bias=False), torch.nn.Linear(4, 11, bias=False)
    student, teacher = torch.randn(5, 4, requires_grad=True), torch.randn(5, 4)
    tokens = torch.tensor([0, 3, 10, 2, 2])
    settings = {"temperature": 1.0, "alpha": 0.5, "top_k": 4, "tail": True}
    found = []
    for num_chunks in (1, 6):
        calls.clear()
        compared_tokens = compare_hidden(
            student,
            teacher,
            tokens,
            heads=(head, frozen),
            chunk_size=chunk_size,
            num_chunks=num_chunks,
            **settings,
        )
        assert len(calls) == max(num_chunks, own_chunks)
        compared_tokens.divergences.sum().backward()
        assert len(calls) == 2 * max(num_chunks, own_chunks)
        found.append((*compared_tokens, head.weight.grad.clone(), student.grad.clone()))
        head.zero_grad()
        student.grad = None
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)


def test_logits_of_more_tokens_than_a_chunk_never_exist():
    widest = []

    class Head(torch.nn.Module):
        def forward(self, hidden):
            widest.append(len(hidden))
            return hidden @ torch.ones(4, 11)

    student = torch.randn(7, 4, requires_grad=True)
    settings = {"temperature": 1.0, "alpha": 0.5, "top_k": 0, "tail": True, "chunk_size": 3}
    found = compare_hidden(
        student,
        torch.randn(7, 4),
        torch.zeros(7, dtype=torch.long),
        heads=(Head(), Head()),
        **settings,
    )
    found.divergences.sum().backward()
    assert max(widest) == 3
    # Two heads forward, and both again in the backward pass, over three chunks.
    assert len(widest) == 12
