"""Weights that lie in the machine's memory, and are on the device while their layer runs."""

from typing import Any

import torch
from torch import nn


def offload(model: nn.Module, device: torch.device) -> nn.Module:
    """The model, which gives no gradient, on the CPU; each layer takes its weights to `device`
    before its own pass and gives them back after it.

    Buffers, such as the frequencies of positions, stay on the device. A weight that two layers
    share is brought for each. No more is on the device than one layer's weights.
    """
    model.cpu()
    for layer in model.modules():
        for name, buffer in layer.named_buffers(recurse=False):
            setattr(layer, name, buffer.to(device))
        if any(True for _ in layer.parameters(recurse=False)):
            visit = _Visit(device)
            layer.register_forward_pre_hook(visit.bring)
            layer.register_forward_hook(visit.give_back, always_call=True)
    return model


class _Visit:
    """One layer's weights on the device, while it runs."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._resting: list[torch.Tensor] = []

    def bring(self, layer: nn.Module, _: Any) -> None:
        own = list(layer.parameters(recurse=False))
        self._resting = [weight.data for weight in own]
        for weight in own:
            weight.data = weight.data.to(self._device, copy=True)

    def give_back(self, layer: nn.Module, *_: Any) -> None:
        for weight, resting in zip(layer.parameters(recurse=False), self._resting, strict=True):
            weight.data = resting
        self._resting = []
