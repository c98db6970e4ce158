"""The settings that differ between arms, a row a key."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from labrun.results.arms import Arm
from labrun.results.comparison import beside_the_labels
from labrun.results.differing import differing, settings_of
from labrun.results.page.words import clean, clipped

MOST_ROWS = 60
MOST_CHARACTERS = 120


@dataclass(frozen=True)
class Differing:
    """Key -> value of each arm, and what was left out."""

    labels: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    notes: Sequence[str] = ()


def differing_settings(arms: Sequence[Arm]) -> Differing:
    """Every key that differs between the arms; code, data and seeds where they do."""
    labels = [arm.label for arm in arms]
    settings = [settings_of(arm.runs[0]) for arm in arms]
    keys = differing(settings)
    rows = [(key, [_shown(of[key]) for of in settings]) for key in keys]
    for key, by_value in beside_the_labels(arms).items():
        if key not in keys:
            values = {label: value for value, of in by_value.items() for label in of}
            rows.append((key, [_shown(values.get(label, "-")) for label in labels]))
    partial = {key for of in settings for key in of} - set.intersection(*map(set, settings))
    notes = []
    if len(rows) > MOST_ROWS:
        notes.append(f"the first {MOST_ROWS} of {len(rows)}; `lab runs show RUN` has all")
    if partial:
        first = ", ".join(sorted(partial)[:6])
        notes.append(f"{len(partial)} keys belong to only some of these components: {first}, ...")
    return Differing(labels, rows[:MOST_ROWS], notes)


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return clipped(clean(text), MOST_CHARACTERS)
