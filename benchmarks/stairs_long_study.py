"""STAIRS-Former beside BC-t, UPDeT-m and ODIS: two qualities of data on grid, battles and SMAX.

    OMP_NUM_THREADS=1 python benchmarks/stairs_long_study.py --data DATA --dry-run
    OMP_NUM_THREADS=1 python benchmarks/stairs_long_study.py --data DATA --parts grid-expert

Six parts (three suites, expert and medium data), four methods, five seeds. DATA is a folder with
the published files of cn-2 and cn-4, which the grid's parts read; the other parts make their own
data. SMAX needs `pip install 'labrun[smax]'`. Every method has its published settings, equal
batches and equal numbers of updates; nothing is tuned. The last evaluation counts: 100 greedy
episodes a task.

What has finished stays finished: the same command goes on where it was stopped, on another machine
too. The scores are kept in benchmarks/results/stairs_long_study.csv for that. `--report` prints the
tables from there. What is expected stands in docs/results/stairs.md.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from labrun.results.statistics import suites
from labrun.results.statistics.intervals import t_interval
from labrun.results.statistics.significance import holm, paired_p
from study_record import Record, method_of, seed_of

METHODS = ("stairs", "bc_t", "updet_m", "odis")
SEEDS = ("0", "1", "2", "3", "4")
GRID = ("dataset=grid", "batch_size=32", "max_steps=1000")
BATTLE = ("dataset=battle_small", "batch_size=16", "max_steps=400")
SMAX = (
    "dataset=smax_marine",
    "train_tasks=[smax-3m,smax-5m]",
    "test_tasks=[smax-3m,smax-4m,smax-5m,smax-6m]",
    "num_episodes=1000",
    "batch_size=16",
    "max_steps=400",
)
PARTS = {
    f"{name}-{quality}": (*words, f"quality={quality}")
    for name, words in {"grid": GRID, "battle": BATTLE, "smax": SMAX}.items()
    for quality in ("expert", "medium")
}
EVALUATION = (
    "evaluate_every=0",
    "evaluate_start=false",
    "rollout.episodes=100",
    "rollout.num_envs=100",
    "figures=false",
)
RECORD = Record(
    Path(__file__).parent / "results" / "stairs_long_study.csv",
    {"method": method_of, "seed": seed_of},
)
KINDS = ("seen", "unseen")
TRAINED = {
    "grid": ("cn-2", "cn-4"),
    "battle": ("battle-3m", "battle-5m_vs_6m"),
    "smax": ("smax-3m", "smax-5m"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with the published grid episodes")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--seeds", default=",".join(SEEDS))
    parser.add_argument("--dry-run", action="store_true", help="say what is left of each part")
    parser.add_argument("--report", action="store_true", help="print the tables of what is there")
    chosen = parser.parse_args()
    RECORD.keep(map(group_of, PARTS))
    if chosen.report:
        print("\n".join(line for part in chosen.parts for line in table(part)))
        return 0
    if any(part.startswith("grid") for part in chosen.parts) and not (
        chosen.data or chosen.dry_run
    ):
        parser.error("the grid's parts read the published files: say --data DATA")
    for part in chosen.parts:
        keys = [(method, seed) for seed in chosen.seeds.split(",") for method in METHODS]
        RECORD.finish(group_of(part), keys, words(part, chosen.data), dry=chosen.dry_run)
    return 0


def group_of(part: str) -> str:
    return f"long-{part}"


def words(part: str, data: Path | None) -> list[str]:
    """What every run of a part has, but for its group label."""
    files = [f"dataset.path={data}"] if part.startswith("grid") else []
    return ["plugin=stairs", *PARTS[part], *EVALUATION, *files]


def table(part: str) -> list[str]:
    """Lines of one part: each method's win rates, and STAIRS less it, paired by seed."""
    lines = [f"{part}: seeds {', '.join(complete(part))}"]
    if len(complete(part)) < 2:
        return lines
    rng = np.random.default_rng(0)
    for kind in KINDS:
        rates = {method: scores(part, method, kind) for method in METHODS}
        ours = rates["stairs"]
        gaps = {m: (ours - theirs).mean(1) for m, theirs in rates.items() if m != "stairs"}
        adjusted = dict(zip(gaps, holm([paired_p(gap) for gap in gaps.values()]), strict=True))
        lines.append(f"  {kind}")
        for method, values in rates.items():
            over_seeds = t_interval(values.mean(1).tolist())
            middle = suites.bounded(values, suites.iqm, rng)
            line = f"    {method:8} mean {over_seeds.mean:.3f} ± {over_seeds.half_width:.3f}"
            line += f"  IQM {middle.mean:.3f} [{middle.low:.3f}, {middle.high:.3f}]"
            if method in gaps:
                gap = t_interval(gaps[method].tolist())
                better = suites.bounded_improvement(ours, values, rng)
                line += f"  STAIRS less it {gap.mean:+.3f} ± {gap.half_width:.3f}"
                line += f"  p (Holm) {adjusted[method]:.3f}  P(STAIRS better) {better.mean:.2f}"
                line += f" [{better.low:.2f}, {better.high:.2f}]"
            lines.append(line)
    return lines


def complete(part: str) -> list[str]:
    """The seeds of which every method has a score."""
    found = {method: set(by_seed(part, method)) for method in METHODS}
    return [seed for seed in SEEDS if all(seed in seeds for seeds in found.values())]


def by_seed(part: str, method: str) -> dict[str, dict[str, float]]:
    """Seed -> task -> win rate."""
    found: dict[str, dict[str, float]] = {}
    for row in RECORD.rows():
        chosen = (row["group"], row["method"], row["metric"])
        if chosen == (group_of(part), method, "win_rate") and row["task"] not in KINDS:
            found.setdefault(row["seed"], {})[row["task"]] = float(row["value"])
    return found


def scores(part: str, method: str, kind: str) -> np.ndarray:
    """Win rates (seeds, tasks) of the tasks that were trained on, or of those that were not."""
    trained = TRAINED[part.partition("-")[0]]
    found = by_seed(part, method)
    tasks = [t for t in found[complete(part)[0]] if (t in trained) == (kind == "seen")]
    return np.array([[found[seed][task] for task in tasks] for seed in complete(part)])


if __name__ == "__main__":
    sys.exit(main())
