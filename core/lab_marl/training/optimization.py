"""Gradients of one or several losses, clipped and applied in one optimizer step."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from labrun.errors import DivergedError
from torch import Tensor, nn


def numbers(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Scalars of one dtype as numbers; one copy brings them all from a GPU."""
    stacked = torch.stack([value.detach() for value in values.values()])
    return dict(zip(values, stacked.tolist(), strict=True))


class Optimization:
    """Adam whose gradient may gather over several batches; any decay is decoupled (AdamW).

    Parameters that no loss has reached since the last step are left alone by it.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        *,
        learning_rate: float,
        max_grad_norm: float,
        weight_decay: float = 0.0,
    ) -> None:
        self.parameters = parameters
        self.max_grad_norm = max_grad_norm
        self.optimizer = torch.optim.AdamW(
            parameters, lr=learning_rate, weight_decay=weight_decay, fused=True
        )

    def gather(self, loss: Tensor, *, task: str) -> None:
        """Add the loss's gradient. Raises DivergedError where the loss is not finite."""
        if not torch.isfinite(loss):
            raise DivergedError(f"task {task}: loss {loss.item()}")
        loss.backward()

    def step(self, *, task: str) -> float:
        """Apply the gathered gradient and forget it; its norm before clipping.

        Raises DivergedError where the norm is not finite.
        """
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)
        if not torch.isfinite(norm):
            raise DivergedError(f"task {task}: gradient norm {norm.item()}")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm.item()

    def state_dict(self) -> dict[str, Any]:
        gathered = [parameter.grad for parameter in self.parameters]
        return {"optimizer": self.optimizer.state_dict(), "gathered": gathered}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        for parameter, gradient in zip(self.parameters, state["gathered"], strict=True):
            parameter.grad = None if gradient is None else gradient.to(parameter).clone()
