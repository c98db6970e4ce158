"""What a shell offers at TAB behind `lab`: commands, options, keys, their values, runs and groups.

The script of the shell sets LAB_COMPLETE to the line up to the cursor and calls `lab`, which prints
one offer a line in place of its work.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

if TYPE_CHECKING:
    from labrun.contract import PluginInfo

LINE = "LAB_COMPLETE"
"""Variable with the line up to the cursor."""
Command = Any
"""A command of typer, which keeps the class to itself."""
MOST_RUNS = 50


def answer(root: Command) -> None:
    """Print the offers for the line in LAB_COMPLETE. Whatever goes wrong, nothing is offered: a
    message would stand in the middle of what the user types."""
    try:
        for offer in offers(root, os.environ[LINE]):
            print(offer)
    except Exception:  # see above
        return


def offers(root: Command, line: str) -> list[str]:
    """The words that may stand in place of the last one of the line, in order."""
    words = line.split()
    current = "" if not words or line[-1].isspace() else words.pop()
    command, name, rest = _command_of(root, words[1:])
    if rest and rest[-1] in _options_with_value(command):
        found = _formats(name) if rest[-1] == "--format" else _OF_OPTION.get(rest[-1], list)()
    elif current.startswith("-"):
        found = [word for option in command.params for word in option.opts if word[:2] == "--"]
    elif commands := getattr(command, "commands", None):
        found = list(commands)
    else:
        found = _ARGUMENTS.get(name, _nothing)(rest, current)
    return [word for word in dict.fromkeys(found) if word.startswith(current)]


def _command_of(root: Command, words: Sequence[str]) -> tuple[Command, str, Sequence[str]]:
    """The command that the words name, its name (`data make`), and the words behind it."""
    command: Any = root
    names: list[str] = []
    for word in words:
        if word not in getattr(command, "commands", {}):
            break
        command = command.commands[word]
        names.append(word)
    return command, " ".join(names), words[len(names) :]


def _options_with_value(command: Command) -> set[str]:
    """The options of the command behind which a value stands."""
    options = (one for one in command.params if one.param_type_name == "option")
    return {word for option in options if not option.is_flag for word in option.opts}


def _nothing(words: Sequence[str], current: str) -> Iterable[str]:
    """No word: the shell offers files."""
    del words, current
    return ()


def _plugins(words: Sequence[str], current: str) -> Iterable[str]:
    from labrun.plugins.discovery import installed

    del current
    return [] if words else installed()


def _runs(words: Sequence[str], current: str) -> Iterable[str]:
    """The newest runs, and their names."""
    from labrun.runs import run_index
    from labrun.runs.run_dir import home

    entries = run_index.entries(home())[::-1]
    named = [entry.notes.name for entry in entries if entry.notes.name]
    found = ["last", *named, *(entry.id for entry in entries if entry.id.startswith(current))]
    return [word for word in found if word not in words][:MOST_RUNS]


def _groups() -> list[str]:
    from labrun.runs import run_index
    from labrun.runs.run_dir import home

    return list(run_index.groups(home()))[::-1]


def _tags() -> list[str]:
    from labrun.runs import run_index
    from labrun.runs.run_dir import home

    return [tag for entry in run_index.entries(home())[::-1] for tag in entry.notes.tags]


def _suites(words: Sequence[str], current: str) -> Iterable[str]:
    from labrun.suites import finding

    del current
    return [] if words else [*finding.files(), *map(str, Path().glob("*.yaml"))]


def _formats(command: str) -> Iterable[str]:
    if command == "bench":
        from labrun.suites import formats
    else:
        from labrun.results import report as formats
    return formats.FORMATS


def _intervals() -> Iterable[str]:
    from labrun.results import cells

    return cells.INTERVALS


def _plots() -> Iterable[str]:
    from labrun.results import report

    return report.PLOTS


def _widths() -> Iterable[str]:
    from labrun.results.figures import style

    return style.WIDTHS


def _kinds_of_plugin() -> Iterable[str]:
    from labrun.cli import new

    return new.EXAMPLES


def _overrides(words: Sequence[str], current: str) -> Iterator[str]:
    """Words of `lab run`: what may be chosen, keys, and the values of the key that is begun."""
    if current.startswith("@"):
        yield from _files_of_words(current[1:])
        return
    chosen = dict(word.split("=", 1) for word in words if "=" in word)
    key, is_value, begun = current.partition("=")
    before = begun[: begun.rfind(",") + 1]  # of a sweep's values the last one is begun
    if not is_value:
        yield from _keys(chosen, current)
        return
    for value in _values(chosen, key):
        yield f"{key}={before}{value}"


def _files_of_words(begun: str) -> Iterator[str]:
    """The YAML files and the folders of the folder in which the path that is begun lies."""
    folder = begun[: begun.rfind("/") + 1]
    for path in sorted(Path(folder or ".").iterdir()):
        if path.is_dir():
            yield f"@{folder}{path.name}/"
        elif path.suffix in (".yaml", ".yml"):
            yield f"@{folder}{path.name}"


def _keys(chosen: Mapping[str, str], current: str) -> Iterator[str]:
    """What is chosen first, then keys: up to the next dot, or by their end where it is begun."""
    if "plugin" not in chosen:
        yield "plugin="
    info = _info(chosen)
    if info is None:
        return
    from labrun.config.keys import known_keys
    from labrun.config.presets import preset_groups
    from labrun.contract import KINDS

    yield from (f"{name}=" for name in (*preset_groups(info), *KINDS) if name not in chosen)
    depth = current.count(".")
    keys = [key for key in known_keys(info, everywhere=False) if not key.endswith(".*")]
    for parts in (key.split(".") for key in keys):
        last = len(parts) == depth + 1
        yield ".".join(parts[: depth + 1]) + ("=" if last else ".")
    if current and not depth:
        yield from (f"{key.rpartition('.')[2]}=" for key in keys)


def _values(chosen: Mapping[str, str], key: str) -> Iterable[str]:
    """What the key may be set to, where that is a list of words."""
    from labrun.config.keys import known_keys
    from labrun.config.presets import preset_groups
    from labrun.contract import KINDS
    from labrun.plugins import discovery

    if key == "plugin":
        return list(discovery.installed())
    info = _info(chosen)
    if info is None:
        return []
    if key in (groups := preset_groups(info)):
        return groups[key]
    if key in KINDS:
        return _components(info, key)
    types = known_keys(info, everywhere=False)
    full = [name for name in types if name == key or name.endswith(f".{key}")]
    return _words_of(types[full[0]]) if len(full) == 1 else []


def _components(info: "PluginInfo", kind: str) -> list[str]:
    """The plugin's own components of this kind by their names, then those of others in full."""
    from labrun.plugins import discovery

    own = [component.name for component in info.components if component.kind == kind]
    others = [other for other in discovery.usable() if other.name != info.name]
    return own + [f"{o.name}.{c.name}" for o in others for c in o.components if c.kind == kind]


def _words_of(hint: Any) -> list[str]:
    """The words that a type lists."""
    from labrun.config.values import options

    words: list[str] = []
    for kind in options(hint):
        if get_origin(kind) is Literal:
            words += map(str, get_args(kind))
        elif kind is bool:
            words += ["true", "false"]
    return words


def _info(chosen: Mapping[str, str]) -> "PluginInfo | None":
    """The plugin that the words choose, if it is installed."""
    from labrun.plugins import discovery

    name = chosen.get("plugin", "")
    return discovery.load(name) if name in discovery.installed() else None


_OF_RUNS = ("resume", "logs", "cancel", "compare", "report", "data record", "runs show", "runs tag")
_OF_RUNS += ("runs note", "runs rename", "runs archive", "runs delete", "runs export", "runs diff")
_ARGUMENTS: dict[str, Callable[[Sequence[str], str], Iterable[str]]] = {
    "run": _overrides,
    "data make": _overrides,
    "plugins": _plugins,
    "bench": _suites,
    **dict.fromkeys((*_OF_RUNS, "runs register"), _runs),
}
"""Command -> what may stand behind it, from the words before and the one that is begun."""
_OF_OPTION: dict[str, Callable[[], Iterable[str]]] = {
    "--from": lambda: _runs((), ""),
    "--group": _groups,
    "--interval": _intervals,
    "--kind": _kinds_of_plugin,
    "--plot": _plots,
    "--plugin": lambda: _plugins((), ""),
    "--suite": lambda: _suites((), ""),
    "--tag": _tags,
    "--width": _widths,
}
"""Option -> its values. Behind an option that is not here the shell offers files."""
