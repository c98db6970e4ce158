"""`lab new NAME`: a package with a method of its own, from the templates of docs/new-plugin.md."""

import re
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal, get_args

from labrun.errors import LabError, shown, unknown
from labrun.plugins import discovery as plugins

PluginKind = Literal["grpo", "offline", "plain"]
EXAMPLES: Mapping[PluginKind, str] = {
    "grpo": "decay",
    "offline": "weighted",
    "plain": "descent",
}
"""Kind -> the plugin's name in its templates."""
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
TEMPLATE = ".txt"
"""What a template's name ends with: no tool takes it for code of ours."""


def templates(kind: str) -> dict[str, str]:
    """Path in the package -> text, as the page shows it."""
    if kind not in EXAMPLES:
        raise unknown("kind of plugin", kind, get_args(PluginKind))
    return dict(sorted(_texts(files("labrun.cli") / "templates" / kind)))


def _texts(folder: Traversable, prefix: str = "") -> list[tuple[str, str]]:
    texts: list[tuple[str, str]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            texts += _texts(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(TEMPLATE):
            texts.append((prefix + entry.name.removesuffix(TEMPLATE), entry.read_text("utf-8")))
    return texts


def package(name: str, kind: str) -> dict[str, str]:
    """Path in the package -> text, under the new plugin's name."""
    return {
        _renamed(path, kind, name): _renamed(text, kind, name)
        for path, text in templates(kind).items()
    }


def _renamed(text: str, kind: str, name: str) -> str:
    """The text with the plugin `name` in place of the template's."""
    example = EXAMPLES[kind]  # pyrefly: ignore[bad-index]
    names = {
        f"lab_{example}": f"lab_{name}",
        f"lab-{example}": f"lab-{name.replace('_', '-')}",
        example.title(): "".join(word.title() for word in name.split("_")),
        example: name,
    }
    pattern = rf"lab[_-]{example}|\b{example.title()}|\b{example}\b"
    return re.sub(pattern, lambda found: names[found[0]], text)


def create(name: str, kind: str, parent: Path) -> Path:
    """The folder `parent/name` with the new package.

    Raises LabError for a name that cannot be used or is taken, and for a folder that exists.
    """
    _check(name)
    written = package(name, kind)
    folder = parent / name
    if folder.exists():
        raise LabError(f"{shown(str(folder))} is there already; take another name, or --dir")
    for path, text in written.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder


def _check(name: str) -> None:
    if not NAME.fullmatch(name):
        raise LabError(
            f"no plugin can be named '{shown(name)}'; write lower-case letters, digits and _ "
            "between words, such as my_method"
        )
    for claim in plugins.installed().get(name, ()):
        owner = f"{claim.distribution} {claim.version}"
        raise LabError(f"plugin {name!r} is installed already ({owner}); take another name")


def next_commands(name: str, folder: Path) -> tuple[str, ...]:
    """What to type after `create`."""
    return f"pip install -e {folder}", f"lab run plugin={name}", f"pytest {folder}"
