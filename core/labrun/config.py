"""From command-line overrides to one strictly checked Experiment (Hydra compose, then pydantic)."""

import dataclasses
import difflib
import functools
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any, get_origin, get_type_hints

from hydra import compose as hydra_compose
from hydra import initialize
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import TypeAdapter, ValidationError

from labrun import plugins
from labrun.contract import KINDS, Component, Kind, PluginInfo
from labrun.errors import LabError, unknown
from labrun.run_config import Experiment, RunConfig

ROOT = "labrun_experiment"
OmegaConf.register_new_resolver("by", lambda key, values: values[key], replace=True)
"""For presets: `${by:${trainer.objective},{grpo: 1.0e-6, sdpo: 1.0e-5}}` is the key's value."""


def compose(overrides: Sequence[str]) -> Experiment:
    """The experiment that the overrides describe, every value checked.

    Raises LabError, in one line, for an unknown plugin, preset, component or key, a wrong type, a
    value out of range, or an override that would slip past the checks (`+key`, `~key`).
    """
    parsed = [_parse(text) for text in overrides]
    info = _plugin(parsed)
    groups = preset_groups(info)
    picks = {o.key_or_group: o for o in parsed if o.key_or_group in {*groups, *KINDS}}
    components = _register(info, picks)
    chosen = [_choice(info, name, o, groups, components) for name, o in picks.items()]
    base = _hydra(info, chosen)
    values = [o for o in parsed if o.key_or_group != "plugin" and o.key_or_group not in picks]
    keys = _Keys.of(base, components)
    full = _hydra(info, chosen + [keys.resolved(o) for o in values]) if values else base
    return _experiment(info, full, components, tuple(overrides))


def expand(overrides: Sequence[str]) -> list[list[str]]:
    """The points of a sweep: every combination of the comma-separated values.

    >>> expand(["plugin=p", "seed=0,1"])
    [['plugin=p', 'seed=0'], ['plugin=p', 'seed=1']]
    """
    axes: list[list[str]] = []
    for text in overrides:
        override = _parse(text)
        if not override.is_sweep_override():
            axes.append([text])
        elif override.value_type is ValueType.GLOB_CHOICE_SWEEP:
            raise LabError(f"{text}: write the values out, key=a,b,c")
        elif override.is_discrete_sweep():
            key = override.get_key_element()
            axes.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        else:
            raise LabError(f"{text}: an interval has no list of values; write key=a,b,c")
    return [list(point) for point in itertools.product(*axes)]


def studied(overrides: Sequence[str]) -> list[Experiment]:
    """The experiment that the overrides describe, or, where a preset sets `sweep`, each of its
    points that the overrides leave open."""
    experiment = compose(overrides)
    named = {_parse(text).key_or_group for text in overrides}
    axes = [axis for axis in experiment.run.sweep if not _is_named(axis, named)]
    if not axes:
        return [experiment]
    return [compose(point) for point in expand([*overrides, *axes])]


def _is_named(axis: str, named: Iterable[str]) -> bool:
    """Whether the axis's key is among `named`, in full or by its end."""
    key = _parse(axis).key_or_group
    return any(f".{key}".endswith(f".{name}") or f".{name}".endswith(f".{key}") for name in named)


def is_sweep(overrides: Sequence[str]) -> bool:
    return any(_parse(text).is_sweep_override() for text in overrides)


@functools.cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


def _parse(text: str) -> Override:
    if text.startswith(("+", "~")):
        raise LabError(f"{text!r}: '+' and '~' are refused, since every key is checked; drop it")
    try:
        override = _parser().parse_override(text)
    except HydraException as error:
        reason = str(error).splitlines()[0]
        raise LabError(f"cannot read {text!r}, expected key=value: {reason}") from error
    if override.package is not None:
        raise LabError(f"{text!r}: '@' is refused; write the key as `lab plugins NAME` shows it")
    return override


def _plugin(parsed: Sequence[Override]) -> PluginInfo:
    for override in reversed(parsed):
        if override.key_or_group == "plugin":
            return plugins.load(str(override.value()))
    names = ", ".join(plugins.installed())
    raise LabError(f"no plugin named; write plugin=NAME, installed: {names}")


def preset_groups(info: PluginInfo) -> dict[str, list[str]]:
    """Preset group -> names, from the YAML files of the plugin's preset packages."""
    found: dict[str, list[str]] = {}
    for package in info.presets:
        for folder in files(package).iterdir():
            if folder.is_dir() and not folder.name.startswith("_"):
                names = [f.name[:-5] for f in folder.iterdir() if f.name.endswith(".yaml")]
                found.setdefault(folder.name, []).extend(n for n in names)
    return {group: sorted(set(names)) for group, names in found.items() if names}


Components = dict[tuple[Kind, str], tuple[str, Component]]


def _register(info: PluginInfo, picks: Mapping[str, Override]) -> Components:
    """Put every component that this experiment may name into Hydra's store."""
    owners = {info.name: info}
    for name in info.defaults.values():
        if "." in name:
            owner = name.split(".", 1)[0]
            owners.setdefault(owner, plugins.load(owner))
    offered: Components = {}
    for owner in owners.values():
        for part in owner.components:
            offered.setdefault((part.kind, part.name), (f"{owner.name}.{part.name}", part))
            offered[part.kind, f"{owner.name}.{part.name}"] = (f"{owner.name}.{part.name}", part)
    for kind in KINDS:
        for name in _names(picks[kind]) if kind in picks else []:
            if (kind, name) not in offered and name not in preset_groups(info).get(kind, []):
                qualified, part = plugins.find(kind, name, info)
                offered[kind, name] = offered[kind, qualified] = (qualified, part)
    store = ConfigStore.instance()
    for kind in KINDS:
        store.repo.pop(kind, None)
    for (kind, name), (qualified, part) in offered.items():
        package = f"evaluator.{part.name}" if kind == "evaluator" else kind
        store.store(group=kind, name=name, node=_node(qualified, part), package=package)
    store.store(name=ROOT, node=_root(info))
    return offered


def _node(qualified: str, component: Component) -> dict[str, Any]:
    defaults = plugins.resolve(component.config)()
    return {"component": qualified, **to_plain(defaults)}


def _root(info: PluginInfo) -> dict[str, Any]:
    kinds = [{kind: info.defaults[kind]} for kind in KINDS]
    presets = [{group: choice} for group, choice in info.groups.items()]
    return {"defaults": ["_self_", *kinds, *presets], **to_plain(RunConfig())}


def _names(override: Override) -> list[str]:
    value = override.value()
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def _choice(
    info: PluginInfo,
    name: str,
    override: Override,
    groups: Mapping[str, list[str]],
    components: Components,
) -> str:
    """The override as Hydra takes it, its value one of the group's names."""
    if name != "evaluator" and isinstance(override.value(), list):
        raise LabError(f"{name} takes one name, not {override.input_line}; -m sweeps {name}=a,b")
    if name in KINDS:
        allowed = [n for kind, n in components if kind == name] + groups.get(name, [])
    else:
        allowed = groups[name]
    if not _names(override):
        short = sorted(n for n in allowed if "." not in n)
        raise LabError(f"{name}=[]: name at least one of {', '.join(short)}")
    sections = Counter(n.rsplit(".", 1)[-1] for n in _names(override))  # llm.accuracy is accuracy
    if twice := [section for section, count in sections.items() if count > 1]:
        raise LabError(f"{override.input_line}: name {', '.join(twice)} once")
    for value in _names(override):
        if value not in allowed:
            raise unknown(f"{name} of plugin {info.name!r}", value, allowed)
    if name not in KINDS and name not in info.groups:
        return f"+{name}={_names(override)[0]}"
    names = _names(override)
    return f"{name}={names[0]}" if len(names) == 1 else f"{name}=[{','.join(names)}]"


def _hydra(info: PluginInfo, overrides: Sequence[str]) -> DictConfig:
    search = ",".join(f"pkg://{package}" for package in info.presets)
    path = [f"hydra.searchpath=[{search}]"] if search else []
    GlobalHydra.instance().clear()
    try:
        with initialize(config_path=None, version_base="1.3"):
            return hydra_compose(ROOT, [*path, *overrides], return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        cause = f": {error.__cause__}" if error.__cause__ else ""
        text = " ".join(f"{error}{cause}".split())
        raise LabError(f"cannot compose the configuration: {text}") from error


@dataclasses.dataclass(frozen=True)
class _Keys:
    """The keys that a configuration has: its leaves, and the mappings open to new keys."""

    leaves: tuple[str, ...]
    open: tuple[str, ...]

    @classmethod
    def of(cls, base: DictConfig, components: Components) -> "_Keys":
        plain = _plain(base)
        free = [
            f"{section}.{key}"
            for section, values in _sections(plain).items()
            for key in _mapping_fields(values.get("component", ""), section, components)
        ]
        return cls(tuple(k for k, _ in flat(plain) if not k.endswith(".component")), tuple(free))

    def resolved(self, override: Override) -> str:
        """The override with its full key; a bare key is found where it is unique."""
        key = override.key_or_group
        text = str(override.input_line).split("=", 1)[1]
        if any(key == name or key.startswith(name + ".") for name in self.open):
            return f"++{key}={text}"
        if key in self.leaves or any(leaf.startswith(key + ".") for leaf in self.leaves):
            return f"{key}={text}"
        homes = sorted({m for leaf in self.leaves if (m := _match(leaf, key))})
        if len(homes) == 1:
            return f"{homes[0]}={text}"
        if homes:
            raise LabError(f"key {key!r} is ambiguous; write {' or '.join(homes)}")
        raise LabError(f"no key {key!r}; {self._nearest(key)}")

    def _nearest(self, key: str) -> str:
        by_tail = {leaf.rsplit(".", 1)[-1]: leaf for leaf in self.leaves}
        near = difflib.get_close_matches(key, [*self.leaves, *by_tail], n=3, cutoff=0.6)
        if near:
            found = dict.fromkeys(by_tail.get(name, name) for name in near)
            return f"did you mean {' or '.join(found)}?"
        return f"keys: {', '.join(self.leaves)}"


def _match(leaf: str, key: str) -> str | None:
    """The prefix of `leaf` that ends in `key`, if any: `model.name` -> `trainer.model.name`."""
    if leaf.endswith("." + key):
        return leaf
    inner = leaf.find(f".{key}.")
    return leaf[: inner + 1 + len(key)] if inner >= 0 else None


def _mapping_fields(component: str, section: str, components: Components) -> list[str]:
    kind = section.split(".")[0]
    for (k, name), (_, part) in components.items():
        if k == kind and name == component:
            hints = get_type_hints(plugins.resolve(part.config))
            return [n for n, hint in hints.items() if get_origin(hint) in (dict, Mapping)]
    return []


def _plain(config: DictConfig) -> dict[str, Any]:
    ours = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    try:
        plain = OmegaConf.to_container(ours, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise LabError(f"{error.full_key}: {reason}; {_presets_of(config)}") from error
    assert isinstance(plain, dict)
    # What a preset says of an evaluator that was not chosen: it names no component.
    plain["evaluator"] = {
        name: values
        for name, values in plain["evaluator"].items()
        if not isinstance(values, Mapping) or "component" in values
    }
    return {str(key): value for key, value in plain.items()}


def _sections(plain: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Section name -> values: trainer, dataset, and evaluator.NAME for each evaluator."""
    sections = {kind: plain[kind] for kind in KINDS if kind != "evaluator"}
    sections |= {f"evaluator.{name}": values for name, values in plain["evaluator"].items()}
    for name, values in sections.items():
        if not isinstance(values, Mapping):
            raise LabError(f"{name}={json.dumps(values)}: it holds keys and cannot be set whole")
    return sections


def _experiment(
    info: PluginInfo, config: DictConfig, components: Components, overrides: tuple[str, ...]
) -> Experiment:
    plain = _plain(config)
    sections = {name: dict(values) for name, values in _sections(plain).items()}
    named = {name: str(values.pop("component")) for name, values in sections.items()}
    root = {key: value for key, value in plain.items() if key not in KINDS}
    root["group"] = str(root["group"])  # a label may be a number
    run = typed(RunConfig, root, section="")
    for section, values in sections.items():
        schema = plugins.resolve(components[_kind(section), named[section]][1].config)
        if strange := _unknown_keys(schema, values):
            raise LabError(
                f"{named[section]} has no key {', '.join(f'{section}.{key}' for key in strange)}; "
                f"{_presets_of(config)}"
            )
        typed(schema, values, section=section)
    choices = _choices(config)
    return Experiment(
        plugin=info.name,
        run=run,
        settings=sections,
        components=named,
        choices={k: v for k, v in choices.items() if k not in KINDS},
        overrides=overrides,
    )


def _choices(config: DictConfig) -> dict[str, str]:
    """Preset group or kind of component -> what was chosen."""
    picked = config.hydra.runtime.choices
    return {str(k): str(v) for k, v in picked.items() if not str(k).startswith("hydra/")}


def _presets_of(config: DictConfig) -> str:
    """What to do where a preset and a component do not fit each other."""
    chosen = _choices(config)
    presets = " ".join(f"{k}={v}" for k, v in chosen.items() if k not in KINDS)
    parts = " ".join(f"{k}={v}" for k, v in chosen.items() if k in KINDS)
    return f"choose presets that fit each other and the components; now {presets} with {parts}"


def _kind(section: str) -> Kind:
    kind = section.split(".", 1)[0]
    assert kind in KINDS
    return kind


def typed(cls: type[Any], values: Mapping[str, Any], *, section: str) -> Any:
    """`values` as an instance of the `@schema` class.

    Raises LabError that names the key, the value got and what is allowed.
    """
    try:
        return TypeAdapter(cls).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        raise LabError("; ".join(_fault(e, section) for e in error.errors())) from error


def _unknown_keys(cls: type[Any], values: Mapping[str, Any]) -> list[str]:
    try:
        TypeAdapter(cls).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        strange = (e["loc"] for e in error.errors() if e["type"] == "unexpected_keyword_argument")
        return [".".join(map(str, loc)) for loc in strange]
    return []


def _fault(error: Any, section: str) -> str:
    key = ".".join(part for part in [section, *map(str, error["loc"])] if part)
    if error["type"] == "unexpected_keyword_argument":
        return f"no key {key!r}"
    text = error["msg"][0].lower() + error["msg"][1:]
    got = json.dumps(error["input"])
    names = error.get("ctx", {}).get("expected", "").replace("'", "").replace(" or ", ", ")
    near = difflib.get_close_matches(str(error["input"]), [*filter(None, names.split(", "))], n=1)
    hint = f", did you mean {near[0]!r}?" if near else ""
    return f"{key}={got}: {text}{hint}"


def key_of(experiment: Experiment) -> str:
    """Equal for experiments that would run alike, however they were worded."""
    return json.dumps(to_plain(experiment) | {"overrides": ()}, sort_keys=True)


def key_without_seed(experiment: Experiment) -> str:
    """Equal for experiments that differ in nothing but their seed, group and wording."""
    plain = to_plain(experiment) | {"overrides": ()}
    plain["run"] = plain["run"] | {"seed": 0, "group": ""}
    return json.dumps(plain, sort_keys=True)


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of every leaf of nested mappings; an empty mapping is a leaf."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def to_plain(value: Any) -> Any:
    """A config as JSON-like values: dataclasses become dicts, tuples lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return value
