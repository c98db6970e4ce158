"""The git repositories whose code a run uses: commit, uncommitted changes, untracked code."""

import importlib
import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from labrun import errors
from labrun.config.components import component_of
from labrun.experiment import Experiment
from labrun.plugins import discovery as plugins

INSTALLED = ("site-packages", "dist-packages")
OURS = "labrun"


@dataclass
class Repository:
    """One checkout; `code` holds the package folders (or single modules) in it that the run uses.

    `untracked` are the files among the code that git does not know, relative to the root.
    """

    root: Path
    distributions: list[str]
    code: list[Path]
    commit: str | None = None
    diff: bytes = b""
    untracked: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        return bool(self.diff or self.untracked)

    def read(self) -> "Repository":
        """The checkout with its present commit and changes."""
        self.commit = _git(self.root, "rev-parse", "HEAD").decode().strip() or None
        plain = ("--no-color", "--no-ext-diff", "--no-textconv")
        self.diff = _git(self.root, "diff", *plain, "HEAD")
        listed = _git(
            self.root, "ls-files", "-z", "--others", "--exclude-standard", "--", *self.code
        )
        names = [os.fsdecode(name) for name in listed.split(b"\0") if name]
        self.untracked = [name for name in names if "__pycache__" not in name]
        return self


def repositories(experiment: Experiment) -> list[Repository]:
    """labrun's checkout first, if it is one, then each plugin's, each once."""
    known: dict[Path, Repository] = {}
    for distribution, code in _code_of(experiment).items():
        for path in dict.fromkeys(code):
            root = _root(path)
            if root is None:
                continue
            one = known.setdefault(root, Repository(root, [], []))
            one.code += [path] if path not in one.code else []
            one.distributions += [distribution] if distribution not in one.distributions else []
    return [one.read() for one in known.values()]


def _code_of(experiment: Experiment) -> Mapping[str, list[Path]]:
    """Distribution -> the places of the packages that the run uses."""
    code = {OURS: [Path(errors.__file__).resolve().parent]}
    for claim in _claims(experiment):
        code.setdefault(claim.distribution, []).extend(_places([claim.module]))
    for section, name in experiment.components.items():
        owner = name.split(".", 1)[0]
        for claim in plugins.installed().get(owner, []):
            factory = component_of(experiment, section).factory.partition(":")[0]
            code[claim.distribution] += _places([factory])
    return code


def _claims(experiment: Experiment) -> list[plugins.Installed]:
    """The installed plugins whose components the run uses, its own first."""
    owners = [experiment.plugin, *(c.split(".", 1)[0] for c in experiment.components.values())]
    installed = plugins.installed()
    return [claim for name in dict.fromkeys(owners) for claim in installed.get(name, [])]


def _places(modules: Iterable[str]) -> list[Path]:
    """The folder of each module's package, or the file of a module that is in none."""
    places = []
    for name in modules:
        top = importlib.import_module(name.split(".", 1)[0])
        module = top if top.__file__ else importlib.import_module(name)
        if module.__file__:
            path = Path(module.__file__).resolve()
            places.append(path.parent if path.name == "__init__.py" or top is not module else path)
    return places


def _root(code: Path) -> Path | None:
    """The root of the checkout that holds the code; None if it is installed or git ignores it."""
    folder = code if code.is_dir() else code.parent
    root = _git(folder, "rev-parse", "--show-toplevel").rstrip(b"\n")
    if not root or not set(INSTALLED).isdisjoint(code.parts):
        return None
    return None if _git(folder, "check-ignore", "--", code) else Path(os.fsdecode(root))


def _git(folder: Path, *words: str | Path) -> bytes:
    """Git's answer about the code; empty if the code is in no checkout."""
    environment = {name: v for name, v in os.environ.items() if not name.startswith("GIT_")}
    asked = ["git", "-c", "safe.directory=*", "-C", str(folder), *map(str, words)]
    try:
        return subprocess.run(asked, capture_output=True, check=True, env=environment).stdout
    except (OSError, subprocess.CalledProcessError):
        return b""
