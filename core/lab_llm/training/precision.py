"""The precision of training: of the products, and of the weights that the optimizer keeps."""

from dataclasses import replace
from typing import Literal

from labrun.errors import LabError

from lab_llm.policy.config import PolicyConfig

MasterWeights = Literal["float32", "none"]
LEAST_BFLOAT16_RATE = 2.0**-14
"""Half the distance of two bfloat16 numbers between 2^-6 and 2^-5, where most weights of a
language model lie: AdamW moves a weight by about its rate, and a smaller step is rounded away."""


def trained_model(
    model: PolicyConfig, *, master_weights: MasterWeights, deepspeed: bool
) -> PolicyConfig:
    """The model as it is loaded for training: in float32 where bfloat16 needs masters.

    DeepSpeed makes its own masters out of bfloat16 weights.
    """
    if model.dtype == "float32" or deepspeed or master_weights == "none":
        return model
    return replace(model, dtype="float32")


def check_precision(
    model: PolicyConfig, *, master_weights: MasterWeights, deepspeed: bool, learning_rate: float
) -> dict[str, object]:
    """What is known of the precision, for the plan; nothing where all is float32.

    Raises LabError for a rate that bfloat16 weights without masters cannot hold, and where
    DeepSpeed would keep masters against `master_weights`.
    """
    if model.dtype == "float32":
        return {}
    if master_weights == "float32":
        how = "kept by DeepSpeed" if deepspeed else "the products are bfloat16"
        return {"master_weights": f"float32; {how}"}
    if deepspeed:
        raise LabError(
            "trainer.master_weights=none, but trainer.deepspeed keeps float32 masters; set "
            "trainer.master_weights=float32, or trainer.deepspeed=''"
        )
    if learning_rate < LEAST_BFLOAT16_RATE:
        raise LabError(
            f"trainer.learning_rate={learning_rate:g} with trainer.model.dtype=bfloat16 and "
            "trainer.master_weights=none: bfloat16 rounds such steps away, a weight of 0.02 moves "
            f"by {2 * LEAST_BFLOAT16_RATE:.2g} or not at all; set trainer.master_weights=float32, "
            f"or a rate of at least {LEAST_BFLOAT16_RATE:.2g}"
        )
    return {"master_weights": "none: the optimizer updates bfloat16 weights"}
