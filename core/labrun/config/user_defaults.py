"""A user's own defaults of where runs run, in one file for all projects.

They take the place of the defaults of `RunConfig`, below presets and the command line. What a run
computes is not theirs to say: they hold no seed, no group and no setting of a component.
"""

import functools
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from labrun.config.credentials import refuse_secret
from labrun.config.keys import fields_at
from labrun.config.placed_words import Placed, words_of
from labrun.config.typed_values import typed
from labrun.config.values import read
from labrun.config.yaml_places import YamlFile
from labrun.errors import LabError, shown, unknown
from labrun.experiment import RunConfig
from labrun.plain import flat, to_plain

VARIABLE = "LABRUN_DEFAULTS"
"""Names the file; set to nothing, there is none."""
OF_THE_RUN = ("seed", "group", "sweep")
"""Keys that say which run it is, not where it runs."""


@dataclass(frozen=True)
class UserDefaults:
    """The words of the file, and the defaults of every run with them."""

    words: tuple[Placed, ...] = ()
    run: RunConfig = field(default_factory=RunConfig)

    def in_force(self, run: RunConfig) -> tuple[str, ...]:
        """`key=value (FILE, line N)` of each word whose value the run has."""
        mine, has = dict(flat(to_plain(self.run))), dict(flat(to_plain(run)))
        return tuple(
            f"{word.word} ({word.place})" for word in self.words if mine[word.key] == has[word.key]
        )


def path() -> Path | None:
    """The file that LABRUN_DEFAULTS names, else the user's own, if there is one."""
    named = os.environ.get(VARIABLE)
    if named is not None:
        return Path(named).expanduser() if named else None
    folder = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    file = Path(folder, "labrun", "defaults.yaml")
    return file if file.exists() else None


def current() -> UserDefaults:
    """What the file says now. Raises LabError, with file and line, where it cannot be used."""
    file = path()
    if file is None:
        return UserDefaults()
    try:
        facts = file.stat()
    except OSError as error:
        text = f"{VARIABLE}={shown(str(file))}: {error.strerror}"
        raise LabError(f"{text}; name a file, or set {VARIABLE}= for no defaults") from error
    return _read(file, (facts.st_mtime_ns, facts.st_size, facts.st_ino))


@functools.lru_cache(maxsize=1)
def _read(path: Path, sign: tuple[int, ...]) -> UserDefaults:
    """What the file said when it had this sign: every point of a sweep asks."""
    file = YamlFile(path)
    root = file.root()
    if isinstance(root, yaml.ScalarNode):
        raise file.refusal("the file holds one text; write KEY: VALUE lines", root)
    found = UserDefaults()
    for word in words_of(file, root):
        if any(word.key == earlier.key for earlier in found.words):
            raise LabError(f"{word.key} is set twice; keep one ({word.place})")
        try:
            run = _with(found.run, word)
        except LabError as error:
            raise LabError(f"{error} ({word.place})") from error
        found = replace(found, words=(*found.words, word), run=run)
    return found


def _with(run: RunConfig, word: Placed) -> RunConfig:
    """The defaults with the word's value. Raises LabError for another key, or a wrong value."""
    hints = {key: hint for key, hint in fields_at(RunConfig) if key not in OF_THE_RUN}
    if word.key not in hints:
        raise _no_default(word.key, [*hints])
    if "${" in word.word:
        raise LabError(f"{shown(word.word)}: a default reads no other value; write its text out")
    value = read(word.word.partition("=")[2].strip(), hints[word.key], key=word.key)
    plain: Any = to_plain(run)
    *parents, name = word.key.split(".")
    functools.reduce(lambda values, part: values[part], parents, plain)[name] = value
    changed = typed(RunConfig, plain, section="")
    refuse_secret(changed.tracking.uri, key="tracking.uri")
    return changed


def _no_default(key: str, allowed: list[str]) -> LabError:
    """Why the key has no user's default."""
    first = key.split(".", 1)[0]
    if first in OF_THE_RUN or first in ("plugin", "trainer", "dataset", "evaluator"):
        return LabError(
            f"{shown(key)} belongs to single runs; a file of defaults says where all runs run: "
            "launcher, resources, tracking.uri and the like; write the rest into @FILE.yaml"
        )
    return unknown("key for a default", key, allowed)
