"""Settings that every offline method shares."""

from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Lt
from labrun import schema


@schema
class OfflineSettings:
    """The loop that every offline method runs in: one batch of one task at each step."""

    SAMPLES: ClassVar[tuple[str, ...]] = ("batch_size",)

    max_steps: Annotated[int, Ge(0)] = 400
    """Updates, each on a batch of one task; tasks are shuffled and taken in turn (arXiv 2603.11691:
    30,000 on SMAC, 40,000 on the grid task). An update is one optimizer step, but for ODIS and
    HiSSD, which gather the gradients of a round over the tasks. 0 only evaluates."""
    batch_size: Annotated[int, Ge(1)] = 32
    """Episodes of a batch (published: 32)."""
    learning_rate: Annotated[float, Gt(0)] = 5e-4
    """Adam's rate (published: 5e-4)."""
    max_grad_norm: Annotated[float, Gt(0)] = 10.0
    """L2 norm to which the gradient is clipped (published: 10)."""
    gamma: Annotated[float, Ge(0), Lt(1)] = 0.99
    """Discount of a step (published: 0.99). Behaviour cloning has none."""
    evaluate_every: Annotated[int, Ge(0)] = 0
    """Steps between evaluations (published: 500); 0: only at the start and at the end."""
    evaluate_start: bool = True
    """Evaluate before the first step."""
    save_every: Annotated[int, Ge(1)] = 100
    """Steps between checkpoints."""
    weights: str = ""
    """File `artifacts/learner.pt` of an earlier run of the same method and sizes: networks, targets
    and optimizer to begin from; with max_steps=0 they are evaluated. Empty: fresh ones."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the networks lie; auto: cuda where the job holds a GPU, else cpu."""
