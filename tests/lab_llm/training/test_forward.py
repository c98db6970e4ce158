"""The policy inside TRL's trainer: what a mixture of experts adds to the loss."""

from types import SimpleNamespace

import torch
from lab_llm.training.forward import ModelForward
from lab_llm.training.step_metrics import StepMetrics


def test_the_routers_loss_is_weighed_and_shared_out_among_the_micro_batches():
    trainer = SimpleNamespace(router_aux_loss_coef=0.5, current_gradient_accumulation_steps=4)
    forward = ModelForward(trainer, None, StepMetrics())
    assert forward.with_router(torch.tensor(1.0)).item() == 1
    forward.router_loss = torch.tensor(2.0)
    assert forward.with_router(torch.tensor(1.0)).item() == 1.25  # 1 + .5 * 2 / 4
