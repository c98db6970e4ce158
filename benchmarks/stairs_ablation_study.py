"""STAIRS-Former beside itself without a part, on small battles, until five seeds can tell.

    OMP_NUM_THREADS=1 python benchmarks/stairs_ablation_study.py

Medium-expert data, batches of 16 episodes, published settings. The score of a run is its mean win
rate over the five tasks, 100 greedy episodes each. There are three looks: after 400, 1,600 and
8,000 updates. An ablation is decided once the 95% t-interval of STAIRS less it, paired over five
seeds, excludes 0. The others go on to the next look: the same runs with more steps, from where they
ended on this machine or else anew. With three looks an ablation without any effect is decided by
chance in up to 14 of 100 studies, not in 5.

What has finished stays finished, as in `stairs_long_study.py`; the scores are kept in
benchmarks/results/stairs_ablation_study.csv. `--report` prints what is there. What is expected
stands in docs/results/stairs.md.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from labrun.results.statistics.intervals import t_interval
from labrun.results.statistics.significance import paired_p
from study_record import Record, method_of, seed_of

LOOKS = (400, 1600, 8000)
"""Updates."""
ABLATIONS = ("no_spatial", "no_temporal", "no_dropout")
WHOLE = "stairs"
SEEDS = ("0", "1", "2", "3", "4")
MEANS = ("seen", "unseen")
"""Rows of the record that are means of others."""
WORDS = (
    "plugin=stairs",
    "dataset=battle_small",
    "quality=medium-expert",
    "batch_size=16",
    "evaluate_every=0",
    "evaluate_start=false",
    "rollout.episodes=100",
    "rollout.num_envs=100",
    "figures=false",
)
RECORD = Record(
    Path(__file__).parent / "results" / "stairs_ablation_study.csv",
    {"method": method_of, "seed": seed_of},
)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--looks", type=int, default=len(LOOKS), help="how many, at most")
    parser.add_argument("--dry-run", action="store_true", help="say what is left of the next look")
    parser.add_argument("--report", action="store_true", help="print the table of what is there")
    chosen = parser.parse_args()
    RECORD.keep(map(group_of, LOOKS))
    if chosen.report:
        print("\n".join(line for look in LOOKS for line in table(look)))
        return 0
    for look in LOOKS[: chosen.looks]:
        keys = [(method, seed) for seed in SEEDS for method in (WHOLE, *open_at(look))]
        if len(keys) == len(SEEDS):
            print("all are decided")
            return 0
        before = LOOKS[: LOOKS.index(look)]
        shorter = group_of(before[-1]) if before else ""
        words = [*WORDS, f"max_steps={look}"]
        RECORD.finish(group_of(look), keys, words, dry=chosen.dry_run, shorter=shorter)
        if chosen.dry_run:
            return 0
    return 0


def group_of(look: int) -> str:
    return f"ablations-{look}"


def open_at(look: int) -> list[str]:
    """The ablations that no earlier look has decided."""
    earlier = LOOKS[: LOOKS.index(look)]
    return [name for name in ABLATIONS if not any(decided(name, before) for before in earlier)]


def decided(name: str, look: int) -> bool:
    """Whether all seeds are there and the interval of the difference excludes 0."""
    differences = gaps(name, look)
    if len(differences) < len(SEEDS):
        return False
    found = t_interval(differences)
    return abs(found.mean) > found.half_width


def gaps(name: str, look: int) -> list[float]:
    """STAIRS less the ablation, for each seed that both have."""
    whole, without = (by_seed(method, look) for method in (WHOLE, name))
    return [whole[seed] - without[seed] for seed in SEEDS if seed in whole and seed in without]


def by_seed(method: str, look: int) -> dict[str, float]:
    """Seed -> mean win rate over the tasks."""
    rates: dict[str, list[float]] = {}
    for row in RECORD.rows():
        named = (row["group"], row["method"], row["metric"])
        if named == (group_of(look), method, "win_rate") and row["task"] not in MEANS:
            rates.setdefault(row["seed"], []).append(float(row["value"]))
    return {seed: sum(found) / len(found) for seed, found in rates.items()}


def table(look: int) -> list[str]:
    """A line for each arm with two seeds or more: its mean, and STAIRS less it."""
    lines = [f"{look:,} updates"]
    for name in (WHOLE, *ABLATIONS):
        rates = list(by_seed(name, look).values())
        if len(rates) < 2:
            continue
        mean = t_interval(rates)
        line = f"  {name:12} {mean.mean:.3f} ± {mean.half_width:.3f}"
        differences = gaps(name, look) if name != WHOLE else []
        if len(differences) > 1:
            gap = t_interval(differences)
            line += f"  STAIRS less it {gap.mean:+.3f} ± {gap.half_width:.3f}"
            line += f"  p {paired_p(np.array(differences)):.3f}  seeds {len(differences)}"
        lines.append(line)
    return lines


if __name__ == "__main__":
    sys.exit(main())
