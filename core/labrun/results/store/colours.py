"""Colours of a group's runs in MLflow: one for each arm, and a lighter shade for each more seed.

MLflow itself takes one of twenty by the run's id, so that two arms often have the same.
"""

import sqlite3

from labrun.results.figures.style import COLOURS
from labrun.results.store.run_names import UNSWEPT
from labrun.results.store.view import NAMED, Stored, named

COLOUR_TAG = "mlflow.runColor"
PALETTE = COLOURS[:-1]
"""Without black, which has no darker shade."""
SHADES = (0.0, 0.3, 0.5, 0.65)
"""How much white is in the colour of an arm's first seed, its second, ..."""
DARKER = 0.35
"""How much black is in the colours of the arms after the sixth, and again after the next."""


def colours_of(stored: Stored) -> dict[str, str]:
    """MLflow's id of each run -> its colour."""
    keys = [*(key for key in NAMED if key != "seed"), *named(stored, stored.said - UNSWEPT)]
    arms: dict[tuple[str, ...], list[str]] = {}
    for run in stored.runs:
        values = (stored.params.get(key, {}).get(run, "") for key in dict.fromkeys(keys))
        arms.setdefault(tuple(values), []).append(run)
    seeds = stored.params.get("seed", {})
    found = {}
    for arm, values in enumerate(sorted(arms)):
        for place, run in enumerate(sorted(arms[values], key=lambda one: _number(seeds, one))):
            found[run] = shade(arm, place)
    return found


def _number(seeds: dict[str, str], run: str) -> tuple[int, str]:
    text = seeds.get(run, "")
    return int(text) if text.isdecimal() else 0, run


def shade(arm: int, seed: int) -> str:
    """The colour of the arm and the seed with these numbers.

    >>> shade(0, 0), shade(0, 2), shade(6, 0)
    ('#0072b2', '#80b8d8', '#004a74')
    """
    times, place = divmod(arm, len(PALETTE))
    white, black = SHADES[seed % len(SHADES)], (1 - DARKER) ** times
    parts = (int(PALETTE[place][i : i + 2], 16) * black for i in (1, 3, 5))
    return "#" + "".join(f"{round(part + (255 - part) * white):02x}" for part in parts)


def keep_colours(database: sqlite3.Connection, stored: Stored) -> None:
    """Give the runs their colours; a colour that somebody picked in MLflow stays."""
    own = {shade(arm, seed) for arm in range(4 * len(PALETTE)) for seed in range(len(SHADES))}
    words = "select run_uuid, value from tags where key = ?"
    picked = {run for run, colour in database.execute(words, (COLOUR_TAG,)) if colour not in own}
    rows = [(COLOUR_TAG, c, run) for run, c in colours_of(stored).items() if run not in picked]
    with database:
        database.executemany(
            "insert or replace into tags (key, value, run_uuid) values (?, ?, ?)", rows
        )
