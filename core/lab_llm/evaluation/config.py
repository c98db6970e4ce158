"""Settings of the accuracy evaluator."""

from typing import Annotated

from annotated_types import Ge
from labrun.schema import schema

from lab_llm.sampling.config import SamplingConfig


@schema
class AccuracyConfig(SamplingConfig):
    """Sample completions for every evaluation set and verify them.

    The sampling defaults are the policy's own distribution, as training samples it; for base models
    no published setting is known to us. Published settings (temperature, top_p, top_k): thinking
    models 0.6, 0.95, 20 and instruct models 0.7, 0.8, 20 (the Qwen3 model cards); arXiv 2603.24472
    takes the former with 16 samples.
    """

    num_samples: Annotated[int, Ge(1)] = 1
    """Completions of every problem (count); accuracy is their mean, avg@num_samples."""
    pass_k: tuple[Annotated[int, Ge(1)], ...] = ()
    """Values of k for pass@k (count); none above num_samples."""
    max_problems: Annotated[int, Ge(1)] | None = None
    """Problems of each set that are evaluated, the first ones (count); None: all."""
