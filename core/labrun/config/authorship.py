"""The mistake of a plugin's author for which a configuration cannot be composed."""

from collections.abc import Iterable, Iterator, Mapping

from labrun.config.keys import known_keys
from labrun.config.presets import Preset, flaws_of, hidden, preset_groups, presets
from labrun.contract import KINDS, Component, Kind, PluginInfo
from labrun.errors import LabError, listed, nearest
from labrun.plugins import discovery
from labrun.plugins.flaws import FlawError, place_of_text


def default_of(info: PluginInfo, kind: Kind) -> tuple[str, Component]:
    """(qualified name, component) of the plugin's default. Raises LabError where it has none."""
    name = info.defaults[kind]
    own = {c.name for c in info.components if c.kind == kind} | {*info.moved}
    if "." not in name and name not in own:
        raise _no_default(info, kind, _nothing(f"{kind} of its own", name, _choices(info, kind)))
    owner = name.partition(".")[0] if "." in name else info.name
    try:
        discovery.load(owner)
    except LabError as error:
        if owner in discovery.installed():  # it is broken, and says so itself
            raise
        raise _no_default(info, kind, str(error)) from error
    try:
        return discovery.find(kind, name, info)
    except LabError as error:
        raise _no_default(info, kind, str(error)) from error


def _choices(info: PluginInfo, kind: Kind) -> list[str]:
    """Names that the default may have: the plugin's own, and those of the plugins it names."""
    owners = {n.partition(".")[0] for n in info.defaults.values() if "." in n}
    usable = [info, *(discovery.load(o) for o in sorted(owners) if o in discovery.installed())]
    return [
        component.name if plugin is info else f"{plugin.name}.{component.name}"
        for plugin in usable
        for component in plugin.components
        if component.kind == kind
    ]


def _nothing(what: str, got: str, names: Iterable[str]) -> str:
    names = [*names]
    by_end = {name.rsplit(".", 1)[-1]: name for name in names}
    near = nearest(got, names) or by_end.get(nearest(got, by_end), "")
    hint = f"did you mean {near!r}? " if near else ""
    return f"no {what}; {hint}allowed: {listed(names, near=got)}"


def _no_default(info: PluginInfo, kind: Kind, reason: str) -> LabError:
    name = info.defaults[kind]
    where = _written(info, f'"{kind}": "{name}"', f"'{kind}': '{name}'", f'"{name}"', f"'{name}'")
    fault = FlawError(f"PluginInfo.defaults names {kind}={name}: {reason}", where)
    return discovery.broken_by(info.name, fault)


def _written(info: PluginInfo, *texts: str) -> str:
    return place_of_text(discovery.module_of(info.name), *texts)


def refuse_missing_choices(info: PluginInfo) -> None:
    """Raises LabError where `PluginInfo.groups` names a preset that is not there, or where a file
    hides a declared preset."""
    for flaw in (*hidden(info), *missing_choices(info)):
        raise discovery.broken_by(info.name, flaw)


def missing_choices(info: PluginInfo) -> Iterator[FlawError]:
    groups = preset_groups(info)
    for group, choice in info.groups.items():
        where = _written(info, f'"{group}": "{choice}"', f'"{group}"', f"'{group}'", f"{group}=")
        if group not in groups:
            reason = _nothing("such group of presets", group, groups)
        elif choice not in groups[group]:
            reason = _nothing("such preset", choice, groups[group])
        else:
            continue
        yield FlawError(f"PluginInfo.groups names {group}={choice}: {reason}", where)


def preset_flaws(info: PluginInfo, preset: Preset) -> list[FlawError]:
    """What is wrong in the preset: its form, and the keys that no component has."""
    flaws = list(flaws_of(preset, known_keys(info, everywhere=False)))
    return flaws if flaws and list(flaws_of(preset, known_keys(info, everywhere=True))) else []


def blamed(info: PluginInfo, choices: Mapping[str, str], error: LabError) -> LabError:
    """The error for what is wrong in a chosen preset; `error` itself where each is right."""
    for preset in _chosen(info, choices):
        for flaw in preset_flaws(info, preset):
            return discovery.broken_by(info.name, f"preset {preset.group}={preset.name}: {flaw}")
    return error


def set_at(info: PluginInfo, choices: Mapping[str, str], key: str) -> str:
    """`FILE, line N` of the chosen preset that sets the key last; empty where none does."""
    return next((place for _, place in _setters(info, choices, key)), "")


def preset_with(info: PluginInfo, choices: Mapping[str, str], key: str) -> str:
    """`GROUP=NAME` of the chosen preset that sets the key last; empty where none does."""
    setters = _setters(info, choices, key)
    return next((f"{preset.group}={preset.name}" for preset, _ in setters), "")


def _setters(
    info: PluginInfo, choices: Mapping[str, str], key: str
) -> Iterator[tuple[Preset, str]]:
    """The chosen presets that set the key, and where; the one that wins comes first."""
    for preset in reversed(_chosen(info, choices)):
        for line in reversed([*preset.lines()]):
            if line.key == key or key.startswith(f"{line.key}."):
                yield preset, line.place


def _chosen(info: PluginInfo, choices: Mapping[str, str]) -> list[Preset]:
    known = presets(info)
    picked = {**dict.fromkeys(KINDS, ""), **info.groups, **choices}
    return [known[pick] for pick in picked.items() if pick in known]
