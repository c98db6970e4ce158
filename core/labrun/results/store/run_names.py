"""Short names of runs: method, what a sweep varies, seed."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NamedTuple

from labrun.experiment import RunConfig
from labrun.runs import run_index
from labrun.runs.run_dir import RunDir
from labrun.system import regular_files

SEEN = 20
"""Letters of a name that MLflow's lists and legends show."""
UNSWEPT = {"plugin", "method", *(one.name for one in fields(RunConfig))}
"""Keys that stand elsewhere in a name, or that no result depends on."""


class Words(NamedTuple):
    """What a run's command said, without the keys of `UNSWEPT`."""

    plugin: str
    method: str
    seed: int
    said: dict[str, str]
    group: str = ""


@dataclass
class RunNames:
    """Names runs by what sets them apart in their group, of which each is read once."""

    _groups: dict[Path, dict[str, list[str]]] = field(default_factory=dict)
    _members: dict[tuple[Path, str], dict[str, Words]] = field(default_factory=dict)

    def of(self, run: RunDir) -> str:
        """`rlrt seed 0`; where the group's runs of a method vary another key, `rlrt lr=1e-4 s0`."""
        group = self._of_group(run.path.parent, run.experiment().run.group)
        mine = group.get(run.id) or words_of(run.path)
        assert mine is not None, "its spec was read before"
        return short_name(mine, [*group.values()])

    def _of_group(self, home: Path, group: str) -> dict[str, Words]:
        """Id -> words of each run of the group."""
        if (home, group) not in self._members:
            if home not in self._groups:
                self._groups[home] = run_index.groups(home)
            ids = self._groups[home].get(group, [])
            found = {run_id: words_of(home / run_id) for run_id in ids}
            self._members[home, group] = {key: words for key, words in found.items() if words}
        return self._members[home, group]


def words_of(path: Path) -> Words | None:
    """What the command said of the run in this directory; None where its spec cannot be read."""
    try:
        spec = json.loads(regular_files.content(path / "spec.json"))["experiment"]
        pairs = (word.partition("=") for word in spec["overrides"])
        said = {key: text for key, _, text in pairs if key.split(".")[0] not in UNSWEPT}
        method = spec["choices"].get("method") or spec["plugin"]
        run = spec["run"]
        return Words(spec["plugin"], method, run["seed"], said, run["group"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def short_name(mine: Words, group: Sequence[Words]) -> str:
    """The run's name among those of its group.

    What is longer than lists show begins with what varies, so that names still differ there.
    """
    namesakes = [one for one in group if one.method == mine.method]
    who = mine.method
    if len({one.plugin for one in namesakes}) > 1:
        who = f"{mine.plugin}/{mine.method}"
    alike = [one.said for one in namesakes if one.plugin == mine.plugin]
    swept = [key for key in mine.said if len({said.get(key) for said in alike}) > 1]
    values = [_value(key, mine.said[key], alike) for key in swept]
    keys = [key.rsplit(".", 1)[-1] for key in swept]
    name = _joined(who, keys, values, mine.seed)
    if len(name) <= SEEN:
        return name
    keys = _initials(keys)
    name = _joined(who, keys, values, mine.seed)
    if len(name) <= SEEN:
        return name
    return " ".join([*_pairs(keys, values), f"s{mine.seed}", who])


def _joined(who: str, keys: Sequence[str], values: Sequence[str], seed: int) -> str:
    return " ".join([who, *_pairs(keys, values), f"s{seed}"]) if keys else f"{who} seed {seed}"


def _pairs(keys: Sequence[str], values: Sequence[str]) -> list[str]:
    return [f"{key}={value}" for key, value in zip(keys, values, strict=True)]


def _initials(keys: Sequence[str]) -> list[str]:
    """`lr` for `learning_rate`; a key of one word stays, as do keys of equal initials."""
    short = ["".join(w[:1] for w in key.split("_")) if "_" in key else key for key in keys]
    return short if len(set(short)) == len(short) else list(keys)


def _value(key: str, text: str, alike: Iterable[dict[str, str]]) -> str:
    """The value as briefly as tells it from the others'."""
    texts = {said[key] for said in alike if key in said} | {text}
    return _brief(text) if len(set(map(_brief, texts))) == len(texts) else text


def _brief(text: str) -> str:
    """A number in its shorter spelling; of a path its last part."""
    plain = text.strip("'\"")
    try:
        power = f"{Decimal(plain).normalize():e}".replace("e+", "e")
    except InvalidOperation:
        return plain.rstrip("/").rsplit("/", 1)[-1]
    return power if len(power) < len(plain) else plain
