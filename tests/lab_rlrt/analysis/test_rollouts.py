"""The model while it is analysed."""

import pytest
import torch
from lab_llm.policy.policy import Policy
from lab_rlrt.analysis.rollouts import evaluating


@pytest.mark.parametrize("training", [True, False])
def test_a_model_is_analysed_without_dropout_and_gradient_and_gets_its_mode_back(training):
    model = torch.nn.Sequential(torch.nn.Dropout(0.9)).train(training)
    values = torch.ones(100, requires_grad=True)
    with evaluating(Policy(model, None)):
        found = model(values) + 0
    assert torch.equal(found, values)
    assert not found.requires_grad
    assert model.training == training
