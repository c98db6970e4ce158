"""From a model's last hidden states to its logits."""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

MULTIPLIERS = ("logit_scale", "output_multiplier", "lm_head_multiplier")
"""Keys of configurations that multiply the output layer's values (Cohere, Falcon-H1)."""

CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
"""Keys of a soft cap on the logits (Gemma 2 and 3, RecurrentGemma, xLSTM)."""


def logits_head(model: Any) -> Callable[[Tensor], Tensor]:
    """Hidden states (..., H) -> logits (..., V), as the model itself computes them.

    The output layer, then the scale (`logits_scaling` of Granite divides) and the soft cap of its
    configuration. The layer is called as a module, so that ranks which share its weights
    gather them.
    """
    layer, config = model.get_output_embeddings(), model.config.get_text_config()
    found = (getattr(config, name, None) for name in CAPS)
    scale, cap = _scale(config), next((value for value in found if value), None)
    if scale == 1 and cap is None:
        return layer

    def head(hidden: Tensor) -> Tensor:
        logits = layer(hidden) * scale
        return logits if cap is None else (logits / cap).tanh() * cap

    return head


def _scale(config: Any) -> float:
    """The factor of the output layer's values."""
    found = (getattr(config, name, None) for name in MULTIPLIERS)
    factor = math.prod(value for value in found if value is not None)
    divisor = getattr(config, "logits_scaling", None)
    if divisor is None:
        return factor
    return factor * divisor if config.model_type == "hyperclovax" else factor / divisor
