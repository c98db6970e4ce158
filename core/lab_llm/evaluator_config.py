"""Settings of the accuracy evaluator."""

from typing import Annotated

from annotated_types import Ge, Gt, Le
from labrun.schema import schema


@schema
class AccuracyConfig:
    """Sample completions for every evaluation set and verify them.

    The sampling defaults are the policy's own distribution, as training samples it; arXiv
    2603.24472 evaluates at temperature 0.6, top_p 0.95, top_k 20 with 16 samples.
    """

    num_samples: Annotated[int, Ge(1)] = 1
    """Completions of every problem (count); accuracy is their mean, avg@num_samples."""
    pass_k: tuple[Annotated[int, Ge(1)], ...] = ()
    """Values of k for pass@k (count); none above num_samples."""
    temperature: Annotated[float, Ge(0)] = 1.0
    """Divides the logits; 0 is greedy."""
    top_p: Annotated[float, Gt(0), Le(1)] = 1.0
    """Probability mass of the nucleus (fraction); 1 keeps all."""
    top_k: Annotated[int, Ge(0)] = 0
    """Tokens that may be sampled (count); 0: all."""
    max_new_tokens: Annotated[int, Ge(1)] = 64
    """Longest completion (tokens)."""
    max_problems: Annotated[int, Ge(1)] | None = None
    """Problems of each set that are evaluated, the first ones (count); None: all."""
    batch_size: Annotated[int, Ge(1)] = 256
    """Completions sampled at a time (count), rounded to whole problems. Another value gives other
    random samples."""
