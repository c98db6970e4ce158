"""Settings of the supervised warm start."""

from typing import Annotated

from annotated_types import Ge, Gt, Le
from labrun.schema import schema

Share = Annotated[float, Ge(0), Le(1)]


@schema
class WarmStartConfig:
    """Teach the tiny model countdown by imitation, on the warm-start splits alone.

    The defaults are what the shipped model was trained with.
    """

    max_steps: Annotated[int, Ge(0)] = 4000
    """Optimizer steps (count), chosen by the validation split: see the shipped model's card."""
    batch_size: Annotated[int, Ge(1)] = 32
    """Examples in a step (count)."""
    learning_rate: Annotated[float, Gt(0)] = 5e-3
    """Peak learning rate of AdamW; a linear warm-up leads to it, a cosine down from it."""
    final_learning_rate_share: Share = 0.05
    """Learning rate at the last step (fraction of the peak)."""
    warmup_steps: Annotated[int, Ge(0)] = 100
    """Steps of the linear warm-up (count)."""
    weight_decay: Annotated[float, Ge(0)] = 0.01
    """AdamW's decoupled weight decay (per unit of learning rate)."""
    max_grad_norm: Annotated[float, Gt(0)] = 1.0
    """Gradients are clipped to this L2 norm."""
    ref_share: Share = 0.3
    """Examples that carry a reference and answer it with confidence (fraction)."""
    in_domain_share: Share = 0.4
    """Examples with three numbers up to 9 (fraction of the sum of the three shares)."""
    ood_large_share: Share = 0.3
    """Examples with three numbers up to 14 (fraction of the sum of the three shares)."""
    ood_four_share: Share = 0.3
    """Examples with four numbers up to 6 (fraction of the sum of the three shares)."""
    model_seed: Annotated[int, Ge(0)] = 0
    """Seed of the initial weights and of the text that the tokenizer is learned on; the run's own
    seed chooses the examples."""
    save_every: Annotated[int, Ge(1)] = 1000
    """Steps between checkpoints (count)."""
    log_every: Annotated[int, Ge(1)] = 50
    """Steps between logged losses (count)."""
    validate_every: Annotated[int, Ge(1)] = 500
    """Steps between pass rates on the validation split (count); the last step has one too."""
    validation_samples: Annotated[int, Ge(1)] = 8
    """Completions sampled for each validation problem at temperature 1 (count)."""
