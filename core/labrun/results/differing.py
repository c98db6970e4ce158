"""What sets compared runs apart: their labels, and the settings that differ between arms."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence

from labrun.experiment import Experiment
from labrun.plain import flat
from labrun.runs.run_dir import RunDir

Settings = Mapping[str, object]
SECTIONS = ("trainer", "dataset", "evaluator")
NETWORK = {
    *("model", "network", "policy", "backbone", "init", "start", "warmstart"),
    *("hidden", "width", "depth", "layer", "layers"),
}
"""Words of a key that say which network a run starts from."""


def settings_of(run: RunDir) -> dict[str, object]:
    """Everything that the run's result depends on but its seed, by flat key."""
    return settings_in(run.experiment())


def settings_in(experiment: Experiment) -> dict[str, object]:
    """The same of a run that is not made yet."""
    named = {f"{section}.component": name for section, name in experiment.components.items()}
    return {
        "plugin": experiment.plugin,
        **experiment.choices,
        **named,
        **dict(flat(experiment.settings)),
    }


def words_of(runs: Iterable[RunDir]) -> set[str]:
    """The keys that the runs' command lines name."""
    return {word.partition("=")[0] for run in runs for word in run.experiment().overrides}


def labels(arms: Sequence[Settings], words: Iterable[str]) -> list[str]:
    """For each arm its method, each key that differs between the arms of this method of its plugin,
    and each that differs between all arms and that a command line names, or a preset beside the
    method."""
    named = set(words)
    asked = [key for key in differing(arms) if _is_asked(key, arms, named)]
    found = [_label(mine, arms, asked, shown=str) for mine in arms]
    if len(set(found)) == len(found):
        return found
    return [_label(mine, arms, asked, shown=json.dumps) for mine in arms]


def differing(arms: Sequence[Settings]) -> list[str]:
    """The keys that all arms have, and not all with the same value."""
    common = [key for key in arms[0] if all(key in arm for arm in arms)]
    return [key for key in common if len({_text(arm[key]) for arm in arms}) > 1]


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _is_asked(key: str, arms: Sequence[Settings], words: Iterable[str]) -> bool:
    if key in ("plugin", "method"):
        return False
    is_preset = "." not in key
    return is_preset or any(_names(word, key) for word in words)


def _names(word: str, key: str) -> bool:
    """Whether a command line's key means this one, by its end or as a mapping that holds it."""
    if word in SECTIONS:
        return key == f"{word}.component"
    return f".{key}".endswith(f".{word}") or f".{word}." in f".{key}"


def _label(mine: Settings, arms: Sequence[Settings], asked: Sequence[str], *, shown) -> str:
    alike = [arm for arm in arms if _origin(arm) == _origin(mine)]
    keys = dict.fromkeys(key for arm in alike for key in arm)
    own = [key for key in keys if len({_text(arm.get(key)) for arm in alike}) > 1]
    words = _words(sorted({*own, *asked}), mine, shown)
    several = len({arm["plugin"] for arm in arms}) > 1
    name = f"{mine['plugin']}/{method_of(mine)}" if several else str(method_of(mine))
    return " ".join([name, *words])


def _words(keys: Sequence[str], mine: Settings, shown=str) -> list[str]:
    """`key=value` for each key, by its end where no other ends so."""
    tails = [key.rsplit(".", 1)[-1] for key in keys]
    short = {k: t if tails.count(t) == 1 else k for k, t in zip(keys, tails, strict=True)}
    named = {
        k: k.removesuffix(".component") if k.endswith(".component") else t for k, t in short.items()
    }
    return [f"{named[key]}={shown(mine.get(key))}" for key in keys]


def _origin(settings: Settings) -> tuple[object, object]:
    return settings["plugin"], method_of(settings)


def method_of(settings: Settings) -> object:
    return settings.get("method", settings["plugin"])


def unlabelled(arms: Mapping[str, Settings]) -> dict[str, dict[str, list[str]]]:
    """Key -> value -> labels, of each key that differs between arms and is not in all labels."""
    found: dict[str, dict[str, list[str]]] = {}
    for key in differing(list(arms.values())):
        if key in ("plugin", "method") or all(_is_in(label, key) for label in arms):
            continue
        by_value: dict[str, list[str]] = {}
        for label, settings in arms.items():
            by_value.setdefault(str(settings[key]), []).append(label)
        found[key] = by_value
    return found


def _is_in(label: str, key: str) -> bool:
    names = {key, key.rsplit(".", 1)[-1], key.removesuffix(".component")}
    return any(word.partition("=")[0] in names for word in label.split(" ")[1:])


def tells_start(key: str) -> bool:
    """Whether the score before training depends on this key: data, evaluation, network."""
    if "." not in key:
        return key not in ("plugin", "method", "study")
    if key.startswith(("dataset.", "evaluator.")) or key.endswith(".component"):
        return True
    return not NETWORK.isdisjoint(re.split(r"[._]", key))


def start_names(groups: Sequence[Sequence[Settings]], labels: Sequence[Sequence[str]]) -> list[str]:
    """What tells the groups of arms that start alike from each other, as few keys as it takes."""
    keys = [key for key in differing([arm for arms in groups for arm in arms]) if tells_start(key)]
    chosen: list[str] = []
    for key in [k for k in keys if all(len({_text(a[k]) for a in arms}) == 1 for arms in groups)]:
        if _distinct(groups, [*chosen, key]) > _distinct(groups, chosen):
            chosen.append(key)
    if _distinct(groups, chosen) < len(groups):
        return [f"of {', '.join(names)}" for names in labels]
    return [" ".join(_words(chosen, arms[0])) for arms in groups]


def _distinct(groups: Sequence[Sequence[Settings]], keys: Sequence[str]) -> int:
    return len({tuple(_text(arms[0][key]) for key in keys) for arms in groups})
