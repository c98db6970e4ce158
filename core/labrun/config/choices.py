"""What a configuration is made of: the presets and components that the words choose."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from hydra.core.config_store import ConfigStore

from labrun.config import user_defaults
from labrun.config.authorship import default_of
from labrun.config.keys import owners
from labrun.config.presets import preset_groups
from labrun.config.store_entries import Entry
from labrun.config.values import read
from labrun.config.words import Word, in_shell
from labrun.contract import KINDS, Component, Kind, PluginInfo
from labrun.errors import LabError, listed, nearest, shown, unknown
from labrun.experiment import RunConfig
from labrun.plain import to_plain
from labrun.plugins import discovery as plugins
from labrun.plugins.building import config_class

ROOT = "labrun_experiment"
NAME = re.compile(r"\w[\w-]*(\.\w[\w-]*)?")
DATA_FILES = (".jsonl", ".json", ".parquet", ".csv")

Components = dict[tuple[Kind, str], tuple[str, Component]]


def register(info: PluginInfo, picks: Mapping[str, Word]) -> Components:
    """Put every component that this experiment may name into Hydra's store."""
    defaults: Components = {(kind, info.defaults[kind]): default_of(info, kind) for kind in KINDS}
    owners = (qualified.split(".", 1)[0] for qualified, _ in defaults.values())
    homes = {info.name: info} | {owner: plugins.load(owner) for owner in owners}
    offered: Components = {}
    for owner in homes.values():
        for component in owner.components:
            entry = f"{owner.name}.{component.name}", component
            offered.setdefault((component.kind, component.name), entry)
            offered[component.kind, entry[0]] = entry
    offered |= defaults
    for kind in KINDS:
        for name in _names(picks[kind]) if kind in picks else []:
            if (kind, name) not in offered and name not in preset_groups(info).get(kind, []):
                if _is_path(name):
                    raise _no_choice(info, kind, name, plugins.component_names(kind, info))
                qualified, component = plugins.find(kind, name, info)
                offered[kind, name] = offered[kind, qualified] = (qualified, component)
    run = user_defaults.current().run
    if not _is_in_store(info, offered, run):
        _in_store.clear()
        _put(info, offered, run)
        _in_store.append((info, offered, run))
    return offered


_in_store: list[tuple[PluginInfo, Components, RunConfig]] = []
"""The plugin, its components on offer, and the defaults of every run that Hydra's store holds now.
To put them there takes a third of the time."""


def _is_in_store(info: PluginInfo, offered: Components, run: RunConfig) -> bool:
    """Whether they are these very objects: a plugin that was loaded anew may have new defaults."""
    for of, held, defaults in _in_store:
        same = [c is held[k][1] for k, (_, c) in offered.items() if k in held]
        is_whole = len(held) == len(offered) == len(same) and all(same)
        return of is info and is_whole and defaults == run
    return False


def _put(info: PluginInfo, offered: Components, run: RunConfig) -> None:
    store = ConfigStore.instance()
    # Also of groups that are files here: another plugin of this process may have declared them.
    for group in {*KINDS, *preset_groups(info)}:
        store.repo.pop(group, None)
    groups: dict[str, list[Entry]] = {}
    for (kind, name), (qualified, component) in offered.items():
        package = f"evaluator.{component.name}" if kind == "evaluator" else kind
        entry = Entry(name, _values_of(qualified, component), kind, package)
        groups.setdefault(kind, []).append(entry)
    for group, presets in info.presets_in_python.items():
        declared = [Entry(n, to_plain(v), group, "_global_") for n, v in presets.items()]
        groups.setdefault(group, []).extend(declared)
    for group, entries in groups.items():
        store.repo[group] = {entry.name: entry for entry in entries}
    root = Entry(ROOT, _root(info, run))
    store.repo[root.name] = root


def _is_path(name: str) -> bool:
    return NAME.fullmatch(name) is None or name.endswith(DATA_FILES)


def _no_choice(info: PluginInfo, what: str, name: str, allowed: Iterable[str]) -> LabError:
    """The error for a name that is not there; for a path, it says which key takes one."""
    key = f"{what}.path" if what in KINDS else f"{what}.name"
    homes = owners(key, info) if _is_path(name) else []
    if homes and name:
        component, full = homes[0]
        choose = f"{component} " if what in KINDS else ""
        path = in_shell(f"{full}={name}")
        return LabError(f"no {what} '{shown(name)}'; for a path write {choose}{shown(path)}")
    names = list(allowed)
    is_anyones = what in KINDS and _is_path(name)
    error = unknown(what, name, names, of="" if is_anyones else f"plugin {info.name!r}")
    if what in KINDS or nearest(name, names):
        return error
    return LabError(f"{error}; presets of your own: lab run @FILE.yaml")


def _values_of(qualified: str, component: Component) -> dict[str, Any]:
    defaults = config_class(qualified.split(".", 1)[0], component)()
    return {"component": qualified, **to_plain(defaults)}


def _root(info: PluginInfo, run: RunConfig) -> dict[str, Any]:
    kinds = [{kind: info.defaults[kind]} for kind in KINDS]
    presets = [{group: choice} for group, choice in info.groups.items()]
    defaults = ["_self_", *kinds, *presets]
    search = [f"pkg://{package}" for package in info.presets]
    return {"defaults": defaults, "hydra": {"searchpath": search}, **to_plain(run)}


def _names(word: Word) -> list[str]:
    value = _value(word)
    return value if isinstance(value, list) else [value]


def _value(word: Word) -> str | list[str]:
    return read(word.text, str | tuple[str, ...], key=word.key)


def choice(
    info: PluginInfo,
    name: str,
    word: Word,
    groups: Mapping[str, list[str]],
    components: Components,
) -> str:
    """The override as Hydra takes it, its value one of the group's names."""
    names = _names(word)
    if name != "evaluator" and isinstance(_value(word), list):
        raise LabError(f"{name} takes one name, not {word}; -m sweeps {name}=a,b")
    if name in KINDS:
        allowed = [n for kind, n in components if kind == name] + groups.get(name, [])
    else:
        allowed = groups[name]
    if not names:
        short = sorted(n for n in allowed if "." not in n)
        raise LabError(f"{name}=[]: name at least one of {listed(short)}")
    sections = Counter(n.rsplit(".", 1)[-1] for n in names)  # llm.accuracy is accuracy
    if twice := [section for section, count in sections.items() if count > 1]:
        raise LabError(f"{word}: name {', '.join(twice)} once")
    for value in names:
        if value not in allowed:
            raise _no_choice(info, name, value, allowed)
    if name not in KINDS and name not in info.groups:
        return f"+{name}={names[0]}"
    return f"{name}={names[0]}" if len(names) == 1 else f"{name}=[{','.join(names)}]"
