"""The git repositories whose code a run uses: commit, uncommitted changes, untracked code.

Git is asked several questions at once: each answer is waited for, and a run's start with it.
"""

import importlib
import os
import subprocess
from collections.abc import Callable, Iterable, Mapping
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

    def asked(self) -> "Callable[[], Repository]":
        """Gives the checkout with its present commit and changes, for which git is asked now."""
        plain = ("--no-color", "--no-ext-diff", "--no-textconv")
        others = ("-z", "--others", "--exclude-standard", "--", *self.code)
        commit = _git(self.root, "rev-parse", "HEAD")
        diff = _git(self.root, "diff", *plain, "HEAD")
        listed = _git(self.root, "ls-files", *others)

        def read() -> Repository:
            self.commit, self.diff = commit().decode().strip() or None, diff()
            names = [os.fsdecode(name) for name in listed().split(b"\0") if name]
            self.untracked = [name for name in names if "__pycache__" not in name]
            return self

        return read


def repositories(experiment: Experiment) -> Callable[[], list[Repository]]:
    """Gives labrun's checkout first, if it is one, then each plugin's, each once; git is asked
    now."""
    code_of = _code_of(experiment)
    asked_of = {path: _root(path) for path in {p for code in code_of.values() for p in code}}
    root_of = {path: answer() for path, answer in asked_of.items()}
    known: dict[Path, Repository] = {}
    for distribution, code in code_of.items():
        for path in dict.fromkeys(code):
            if (root := root_of[path]) is None:
                continue
            one = known.setdefault(root, Repository(root, [], []))
            one.code += [path] if path not in one.code else []
            one.distributions += [distribution] if distribution not in one.distributions else []
    asked = [one.asked() for one in known.values()]
    return lambda: [read() for read in asked]


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


def _root(code: Path) -> Callable[[], Path | None]:
    """Gives the root of the checkout that holds the code; None if it is installed or git ignores
    it."""
    if not set(INSTALLED).isdisjoint(code.parts):
        return lambda: None
    folder = code if code.is_dir() else code.parent
    root = _git(folder, "rev-parse", "--show-toplevel")
    ignored = _git(folder, "check-ignore", "--", code)

    def read() -> Path | None:
        answers = root().rstrip(b"\n"), ignored()
        return Path(os.fsdecode(answers[0])) if answers[0] and not answers[1] else None

    return read


def _git(folder: Path, *words: str | Path) -> Callable[[], bytes]:
    """Gives git's answer about the code, for which it is asked now; empty if the code is in no
    checkout."""
    environment = {name: v for name, v in os.environ.items() if not name.startswith("GIT_")}
    asked = ["git", "-c", "safe.directory=*", "-C", str(folder), *map(str, words)]
    try:
        process = subprocess.Popen(
            asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
    except OSError:
        return lambda: b""

    def answer() -> bytes:
        told, _ = process.communicate()
        return told if process.returncode == 0 else b""

    return answer
