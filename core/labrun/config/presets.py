"""The presets of a plugin, out of YAML files and its description, and what is wrong in one."""

from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from labrun.config.declared_presets import DeclaredPreset
from labrun.config.preset_files import PresetFile
from labrun.config.preset_keys import key_flaws
from labrun.contract import PluginInfo
from labrun.plugins import discovery
from labrun.plugins.flaws import FlawError, place_of_text
from labrun.plugins.references import package

Preset = PresetFile | DeclaredPreset


def presets(info: PluginInfo) -> dict[tuple[str, str], Preset]:
    """(group, name) -> preset, in order.

    Of several packages that hold it, the first one's; a file wins over a declaration. Raises
    LabError for a preset package that is not there.
    """
    declared = {(preset.group, preset.name): preset for preset in _declared(info)}
    return dict(sorted({**declared, **_files(info)}.items()))


def _declared(info: PluginInfo) -> Iterator[DeclaredPreset]:
    module = discovery.module_of(info.name)
    for group, names in info.presets_in_python.items():
        for name, values in names.items():
            yield DeclaredPreset(group, name, values, module)


def _files(info: PluginInfo) -> dict[tuple[str, str], PresetFile]:
    found: dict[tuple[str, str], PresetFile] = {}
    for folder in _folders(info):
        for file in _sorted(folder):
            if file.name.endswith(".yaml"):
                name = file.name.removesuffix(".yaml")
                found.setdefault((folder.name, name), PresetFile(folder.name, name, file))
    return found


def hidden(info: PluginInfo) -> Iterator[FlawError]:
    """A flaw for each declared preset that a file of the same name hides."""
    by_name = _files(info)
    for preset in _declared(info):
        if file := by_name.get((preset.group, preset.name)):
            text = f"preset {preset.group}={preset.name} is declared here and is also the file"
            yield FlawError(f"{text} {file.place()}; rename one", preset.place())


def preset_groups(info: PluginInfo) -> dict[str, list[str]]:
    """Preset group -> names."""
    groups: dict[str, list[str]] = {}
    for group, name in presets(info):
        groups.setdefault(group, []).append(name)
    return groups


def _folders(info: PluginInfo) -> Iterator[Traversable]:
    """The folders of groups in the plugin's preset packages."""
    for name in info.presets:
        for folder in _sorted(package_folder(info, name)):
            if folder.is_dir() and not folder.name.startswith("_"):
                yield folder


def package_folder(info: PluginInfo, name: str) -> Traversable:
    """The folder of a preset package. Raises LabError where there is none."""
    module = discovery.module_of(info.name)
    try:
        package(name, root=module.partition(".")[0])
    except FlawError as flaw:
        written = place_of_text(module, f'"{name}"', f"'{name}'")
        fault = FlawError(f"PluginInfo.presets names {name!r}: {flaw}", written)
        raise discovery.broken_by(info.name, fault) from flaw
    return files(name)


def _sorted(folder: Traversable) -> list[Traversable]:
    return sorted(folder.iterdir(), key=lambda entry: entry.name)


def unread(info: PluginInfo, package: str) -> Iterator[FlawError]:
    """A flaw for each file of the package that looks like a preset and is never read."""
    folder = package_folder(info, package)
    for file in _sorted(folder):
        if file.name.endswith((".yaml", ".yml")):
            text = "a preset lies in the folder of its group, such as method/; this one is not read"
            yield FlawError(text, str(file))
    for group in _sorted(folder):
        for file in _sorted(group) if group.is_dir() else ():
            if file.name.endswith(".yml"):
                yield FlawError("a preset's name ends in .yaml; this one is not read", str(file))


def flaws_of(preset: Preset, keys: Mapping[str, Any]) -> Iterator[FlawError]:
    """What is wrong in the preset; `keys` are those that may be set, `NAME.*` for open mappings."""
    try:
        lines, header = preset.lines(), preset.header_flaw(keys)
    except FlawError as flaw:
        yield flaw
        return
    if header:
        yield header
        return
    yield from key_flaws(lines, keys)
