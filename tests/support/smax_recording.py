"""Recorded episodes of JaxMARL's SMAX; `python tests/support/smax_recording.py` records them again.

Recording needs the extra `smax`, reading does not.
"""

from dataclasses import asdict, fields
from functools import cache
from pathlib import Path

import numpy as np
from lab_marl.environments.smax.scenarios import parsed
from lab_marl.environments.smax.simulator import Battles, Game, Shown

FILE = Path(__file__).parents[1] / "lab_marl" / "environments" / "smax" / "recorded.npz"
TASKS = ("smax-2m_vs_3m", "smax-smacv2_3_units")
SEEDS = np.array([5, 11], np.uint32)


@cache
def arrays(task: str) -> dict[str, np.ndarray]:
    """Arrays [T + 1, E, ...] of every frame of a task, what `Shown` holds and what its units are;
    and the actions [T, E, n] of the heuristic policy."""
    with np.load(FILE) as recorded:
        return {
            key.partition("/")[2]: recorded[key]
            for key in recorded.files
            if key.startswith(f"{task}/")
        }


class Recording:
    """A stand-in of the process that answers with what was recorded."""

    def __init__(self, task: str, sizes: dict[str, object]) -> None:
        self.arrays, self.sizes = arrays(task), sizes
        self.unneeded: list[int] = []
        self.step = 0

    def new_number(self) -> int:
        return 1

    def ask(self, name: str, number: int, value: object = None) -> object:
        if name == "make":
            return self.sizes
        if name == "advise":
            return self.arrays["actions"][min(self.step, len(self.arrays["actions"]) - 1)]
        self.step = 0 if name == "reset" else self.step + 1
        return Shown(*(self.arrays[field.name][self.step] for field in fields(Shown)))


def units(battles: Battles) -> dict[str, np.ndarray]:
    """Each unit of each copy, agents first, as the environment keeps it."""
    _, state, _ = battles._chunks[0]
    inside = state.state
    names = ("positions", "health", "types", "weapon_cooldowns")
    kept = {name: np.asarray(getattr(inside, f"unit_{name}")) for name in names}
    kept["moves"] = np.asarray(inside.prev_movement_actions)
    kept["attacks"] = np.asarray(inside.prev_attack_actions)
    return {name: values[: len(SEEDS)] for name, values in kept.items()}


def record(task: str) -> dict[str, np.ndarray]:
    """What `arrays` gives, played until all episodes are over."""
    battles = Battles(Game(parsed(task)))
    frames = [asdict(battles.reset(SEEDS)) | units(battles)]
    actions, over = [], np.zeros(len(SEEDS), bool)
    while not over.all():
        actions.append(battles.advise())
        frames.append(asdict(battles.step(actions[-1])) | units(battles))
        over |= frames[-1]["terminated"] | frames[-1]["truncated"]
    found = {name: np.stack([frame[name] for frame in frames]) for name in frames[0]}
    return found | {"actions": np.stack(actions)}


def main() -> None:
    made = {f"{task}/{name}": one for task in TASKS for name, one in record(task).items()}
    np.savez_compressed(FILE, **made)


if __name__ == "__main__":
    main()
