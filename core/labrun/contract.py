"""What a plugin provides: `lab_plugin()` and three kinds of components.

A component of any kind may also have `plan(setup) -> Plan` (`labrun.plan`): what it says of a run
before that starts. One without it has nothing to say.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import pluggy

from labrun.entry_points import GROUP
from labrun.score import Score

if TYPE_CHECKING:
    from labrun.runs.context import RunContext

API_VERSION = 1
"""The plugin API of this labrun; `PluginInfo.api_version` must equal it."""
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)
"""Marks a plugin's function as its hook: `@hookimpl` above `def lab_plugin()`."""

Kind = Literal["trainer", "dataset", "evaluator"]
KINDS: tuple[Kind, ...] = ("trainer", "dataset", "evaluator")


@dataclass(frozen=True)
class Component:
    """One trainer, dataset or evaluator, referred to lazily as `module:object`.

    `config` names a `@schema` dataclass; `factory` names a callable that takes an instance of it.
    The module of `config` must import no heavy library: it is read to check a configuration.
    `lab plugins NAME --check` checks both, and that every method of the kind is there.
    `samples` of an evaluator that keeps completions names a function of a run directory and the
    evaluator's section (`evaluator.accuracy`) that returns them as `labrun.sample.Samples`;
    `lab report` shows them side by side. `shows` and `converts` of a dataset that reads files name
    the functions behind `lab data show` and `lab data convert`: `show(path) -> DataReport`, and
    `convert(source, target, *, task, quality)`, which returns one line for each file written, and
    may take `episode_length`, the steps of every episode.
    `records` of a dataset whose episodes a trained model can play names the function behind
    `lab data record`: `record(run, trainer, dataset, target, *, tasks, quality, num_episodes,
    noise, seed, progress)`, with a run's directory and its components, also a line for each file.
    """

    kind: Kind
    name: str
    config: str
    factory: str
    summary: str = ""
    samples: str = ""
    shows: str = ""
    converts: str = ""
    records: str = ""


@dataclass(frozen=True)
class PluginInfo:
    """What one plugin offers.

    `defaults` names the component of each kind that runs when none is asked for (a bare name is
    this plugin's own, `other.name` another's). `presets` are packages that hold YAML groups
    (`method/grpo.yaml`, `scale/tiny.yaml`, `model/...`), searched in order; the first is this
    plugin's own. `presets_in_python` (group -> name -> values) are presets without a file, with the
    keys of a YAML file that begins `# @package _global_`; a file of the same name wins. `groups`
    gives the preset chosen in each group when none is named. `headline` names the series and scores
    (`in_domain/accuracy`) to draw by default; the first is shown live. `figures` names functions
    `module:function` that `lab compare` calls with the compared arms (see
    `labrun.results.compare.Arm`) and a folder; each returns the paths of the PNGs that it wrote
    there, none where it has nothing to draw of these arms. `moved` says where components went that
    were once this plugin's own (`{"offline": "marl.offline"}`), for old runs and old habits.
    """

    name: str
    summary: str
    components: Sequence[Component]
    defaults: Mapping[str, str]
    presets: Sequence[str] = ()
    presets_in_python: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    headline: Sequence[str] = ()
    figures: Sequence[str] = ()
    moved: Mapping[str, str] = field(default_factory=dict)
    api_version: int = API_VERSION


class LabHooks:
    """Hooks that a plugin module may implement with `@labrun.hookimpl`."""

    @hookspec
    def lab_plugin(self) -> PluginInfo:  # pyrefly: ignore[bad-return]
        """Return the plugin's description. Called once, when the plugin is asked for.

        Must import no heavy library. Every plugin module implements it exactly once.
        """


@dataclass(frozen=True)
class TrainResult:
    """What a trainer hands to the evaluators: the trained model and the steps it took."""

    model: Any
    step: int


@runtime_checkable
class Dataset(Protocol):
    """Data by configuration: `load` gives what the plugin's trainer takes."""

    def load(self, ctx: "RunContext") -> Any: ...

    def fingerprint(self) -> str:
        """A hash of the content: equal for equal data, on every machine."""
        ...


@runtime_checkable
class Makeable(Dataset, Protocol):
    """A dataset may also have this method: `lab data make` calls it, after `plan`."""

    def make(self, progress: Callable[[str, int, int], None]) -> Mapping[str, object]:
        """Make what is not there yet; returns facts by name: where it lies, its statistics.

        `progress(what, done, total)` is called often. What was made is complete or not there,
        whenever the command is stopped.
        """
        ...


@dataclass(frozen=True)
class DataReport:
    """What a folder of data holds, for `lab data show`."""

    rows: Sequence[Mapping[str, str]]
    """One for each file; the columns are the keys, in their order."""
    faults: Sequence[str]
    """One line each: file, key, what is wrong."""
    notes: Sequence[str] = ()
    """One line each, about what is no fault."""


@runtime_checkable
class Trainer(Protocol):
    """Trains one model. Its config has a field `max_steps` (optimizer steps; 0 only evaluates). It
    may have a class variable `SAMPLES`, the keys whose product is the number of samples (rollouts,
    episodes) of a step: `lab compare --cost samples` counts by them.

    It runs in one process, on one GPU at most, unless its plan says `max_processes`. `fit` then
    runs in every process, with `ctx.rank` and `ctx.world_size`, and sets `ctx.barrier`.
    """

    def fit(self, ctx: "RunContext", data: Any) -> TrainResult:
        """Train from `ctx.resume_from` or from the start; honours `ctx.should_stop`.

        Raises DivergedError at a NaN or infinite loss, PreemptedError when it stopped early.
        """
        ...


@runtime_checkable
class Evaluator(Protocol):
    """Scores a model; reads no global random state, so that it never changes training."""

    def evaluate(self, ctx: "RunContext", model: Any, data: Any) -> list[Score]: ...
