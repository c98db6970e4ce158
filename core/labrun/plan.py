"""What is known of a run before it starts: what a component is told, and what it answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class Setup:
    """What a component is told when the run is planned.

    The dataset is planned first, then the trainer, then the evaluators.
    """

    dataset: Any = None
    """The run's dataset component."""
    evaluators: Mapping[str, Any] = field(default_factory=dict)
    """The run's evaluators by name."""
    num_processes: int = 1
    """Processes that share the work."""
    num_gpus: int = 0
    """GPUs that the job holds on each of its machines; 0: none, CUDA shows it no device."""
    min_gpu_memory_gib: float = 0.0
    """Memory that each of these GPUs has at least (GiB); 0: nothing is asked."""
    data: Any = None
    """What the dataset's plan offers; None: the data are not known yet."""
    model: Any = None
    """What the trainer's plan offers: the model at the start. None: it is not known yet."""


@dataclass(frozen=True)
class Continues:
    """What a trainer lets `lab run --from` change in a longer run that goes on from its checkpoint.

    `max_steps` always may. Keys are the trainer's own, without `trainer.`.
    """

    free: Sequence[str] = ()
    """Keys on which neither the saved state nor a step depends: how often it saves or scores."""
    follow_max_steps: Sequence[str] = ()
    """Keys by whose present values a step depends on `max_steps`: a schedule that ends with it. The
    longer run is then no run of so many steps from the start."""


@dataclass(frozen=True)
class Plan:
    """What a component says of the run."""

    facts: Mapping[str, object] = field(default_factory=dict)
    """What a dry run prints, by name."""
    missing: Sequence[str] = ()
    """What is right and only not on this machine (a download, a package), a sentence each. A dry
    run prints them, and a run is refused with them."""
    max_processes: int | None = 1
    """Of a trainer: the largest number of processes that can share its work; None: any number."""
    offers: Any = None
    """Of a dataset, its data; of a trainer, its model at the start. Components that are planned
    later get them in their `Setup`."""
    unused: Mapping[str, str] = field(default_factory=dict)
    """Keys of the component (without its section) that change nothing in this run, each with the
    setting that makes it so: `{"lam": "trainer.credit=grpo"}`. A command that sets one says so."""
    continues: Continues | None = None
    """Of a trainer: what a longer run that goes on from this one may change; None: it does not
    say."""


@runtime_checkable
class Plans(Protocol):
    """A component that takes part in the plan of its run."""

    def plan(self, setup: Setup) -> Plan:
        """What it says of the run; cheap. Raises LabError where the run could not work."""
        ...
