"""Settings of the components."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt
from labrun import schema


@schema
class TroubleConfig:
    """Faults that tests ask for."""

    sleep_s: Annotated[float, Ge(0)] = 0.0
    """Seconds slept at each step."""
    nan_at_step: Annotated[int, Ge(0)] = 0
    """Step whose loss is NaN; 0: none."""
    crash_at_step: Annotated[int, Ge(0)] = 0
    """Step at which the first attempt crashes; 0: none."""
    error: Literal["", "TypeError", "RuntimeError", "OSError", "SystemExit"] = ""
    """Error that every attempt raises at its third step; empty: none."""
    hang_at_step: Annotated[int, Ge(0)] = 0
    """Step at which the trainer stands still for ever; 0: none."""
    script: str = ""
    """File of Python that the trainer runs at its second step, with the name `ctx`; empty: none."""
    start_child: bool = False
    """Start a child process that outlives the trainer; its pid lies in the artifact `child.pid`."""


@schema
class SGDConfig:
    max_steps: Annotated[int, Ge(0)] = 10
    """Optimizer steps; 0 only evaluates."""
    learning_rate: Annotated[float, Gt(0)] = 0.1
    """Step size."""
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Share of the last update that is added to the next one."""
    batch_size: Annotated[int, Ge(1)] = 8
    """Points in a minibatch."""
    decay: Literal["none", "linear"] = "none"
    """How the step size falls to the end."""
    save_every: Annotated[int, Ge(1)] = 4
    """Steps between checkpoints."""
    evaluate_start: bool = True
    """Score the model before the first step."""
    start: Mapping[str, float] = field(default_factory=dict)
    """First values by parameter, `slope` and `intercept`; 0 where none is given."""
    trouble: TroubleConfig = TroubleConfig()
    """Faults that tests ask for."""


@schema
class LineConfig:
    num_points: Annotated[int, Ge(1)] = 64
    """Points to train on."""
    num_held_out: Annotated[int, Ge(1)] = 16
    """Points to score on."""
    noise: Annotated[float, Ge(0)] = 0.1
    """Standard deviation around the line y = 2 x - 1."""
    held_out_file: str = ""
    """CSV file with lines `x,y` to score on instead. Empty: points of the line."""


@schema
class ErrorConfig:
    batch_size: Annotated[int, Ge(1)] = 256
    """Points predicted at once."""
