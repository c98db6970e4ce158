"""GRPO, RLRT and the self-distillation baselines on the tiny model, each at a rate of its own.

    OMP_NUM_THREADS=1 python benchmarks/rlrt_fair_study.py --dry-run
    OMP_NUM_THREADS=1 python benchmarks/rlrt_fair_study.py

Three parts, each a group of runs that `lab compare --group NAME` shows.

- `fair-screen`: the newer baselines at two rates on one tuning seed. The best of them joins the
  others.
- `fair-tune`: six methods x four rates x three tuning seeds, scored on the split `tuning`. A
  method's rate is the one with the highest mean in-domain accuracy. While that is the lowest or the
  highest, the next rate in that direction is run too.
- `fair-study`: each method at its rate, seeds 0 to 4, scored on the split `test`, which nothing
  was chosen on.

40 batches of 256 rollouts, each for 4 optimizer steps. What has finished stays finished: the same
command goes on where it was stopped, on another machine too. The scores of the ended runs are kept
in benchmarks/results/rlrt_fair_study.csv for that; a run begun elsewhere is begun anew. What is
expected stands in docs/results/rlrt.md.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

from labrun.runs.run_dir import RunDir
from rlrt_study import BATCHES
from rlrt_study import rate_of as rate_number
from study_record import Key, Record, lab, method_of, seed_of

METHODS = ("grpo", "rlrt", "rlsd", "sdpo", "opsd")
NEWER = ("sdft", "sdpo_grpo", "rlsd_decay", "iw_opd", "dasd")
RATES: tuple[str, ...] = ("5e-5", "1.5e-4", "5e-4", "1.5e-3")
BELOW, ABOVE = ("1.5e-5", "5e-6"), ("5e-3", "1.5e-2")
"""The next rates past either end, nearest first."""
TUNING_SEEDS, SEEDS = ("100", "101", "102"), ("0", "1", "2", "3", "4")
TUNING = ("dataset.eval_split=tuning", "dataset.eval_size=null", "accuracy.num_samples=8")
SCORING = (
    "dataset.eval_split=test",
    "dataset.eval_size=null",
    "accuracy.num_samples=16",
    "accuracy.pass_k=[8]",
)
STEPS = ("max_steps=160", "evaluate_every=0", "evaluate_start=false")

Point = tuple[str, str, str]
"""(method, learning rate, seed) of a run."""


def rate_of(run: RunDir) -> str:
    return f"{rate_number(run):g}"


RECORD = Record(
    Path(__file__).parent / "results" / "rlrt_fair_study.csv",
    {"method": method_of, "learning_rate": rate_of, "seed": seed_of},
)
GROUPS = ("fair-screen", "fair-tune", "fair-study")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dry-run", action="store_true", help="say what is left of each part")
    dry = parser.parse_args().dry_run
    RECORD.keep(GROUPS)
    chosen = screen(dry=dry)
    if chosen is None:
        return 0
    rates = tune((*METHODS, chosen), dry=dry)
    if rates is not None:
        points = [(method, rate, seed) for method, rate in rates.items() for seed in SEEDS]
        finish("fair-study", points, *SCORING, dry=dry)
    return 0


def screen(*, dry: bool) -> str | None:
    """The newer baseline with the highest accuracy at its best rate; None before it is known."""
    points = [(m, rate, TUNING_SEEDS[0]) for m in NEWER for rate in RATES[1:3]]
    if not finish("fair-screen", points, *TUNING, dry=dry):
        return None
    best = {method: max(scores("fair-screen", method).values()) for method in NEWER}
    print("screened:", ", ".join(f"{m} {score:.3f}" for m, score in best.items()), flush=True)
    return max(NEWER, key=best.__getitem__)


def tune(methods: Iterable[str], *, dry: bool) -> dict[str, str] | None:
    """Method -> its rate, between two worse ones where the ends allow; None before it is known."""
    tried = {method: list(RATES) for method in methods}
    while True:
        points = [
            (m, r, seed) for m, rates in tried.items() for r in rates for seed in TUNING_SEEDS
        ]
        if not finish("fair-tune", points, *TUNING, dry=dry):
            return None
        best = {method: best_rate(method, rates) for method, rates in tried.items()}
        wider = {method: widened(rates, best[method]) for method, rates in tried.items()}
        if wider == tried:
            return best
        tried = wider


def best_rate(method: str, rates: list[str]) -> str:
    found = scores("fair-tune", method)
    table = ", ".join(f"{rate} {found[float(rate)]:.3f}" for rate in rates)
    best = max(rates, key=lambda rate: found[float(rate)])
    print(f"{method}: {table} -> {best}", flush=True)
    return best


def widened(rates: list[str], best: str) -> list[str]:
    """The rates, with the next one past the end that `best` lies at, while there is one."""
    if best == rates[0]:
        return [*(rate for rate in BELOW if rate not in rates)][:1] + rates
    if best == rates[-1]:
        return rates + [*(rate for rate in ABOVE if rate not in rates)][:1]
    return rates


def finish(group: str, points: list[Point], *words: str, dry: bool) -> bool:
    """Whether all these runs have ended; before that, runs what is left unless `dry`.

    Exits where a run does not end.
    """
    left, stopped = remaining(group, points)
    print(f"{group}: {len(points)} runs, {len(left) + len(stopped)} left", flush=True)
    if dry or not (left or stopped):
        return not (left or stopped)
    if stopped:
        lab("resume", *stopped)
    for sweep in sweeps(left):
        lab("run", "-m", "plugin=rlrt", f"group={group}", *sweep, *BATCHES[:2], *STEPS, *words)
    RECORD.keep(GROUPS)
    left, stopped = remaining(group, points)
    if left or stopped:
        sys.exit(f"{group}: {len(left) + len(stopped)} runs did not end; start the command again")
    return True


def remaining(group: str, points: list[Point]) -> tuple[list[Point], list[str]]:
    """The points that have no run, and the runs of this machine that have not ended."""
    keys = {key(point): point for point in points}
    left, stopped = RECORD.remaining(group, keys)
    return [keys[one] for one in left], stopped


def sweeps(points: list[Point]) -> list[tuple[str, str, str]]:
    """The points as few products of methods, rates and seeds, each the words of one command."""
    seeds: dict[tuple[str, str], list[str]] = defaultdict(list)
    for method, rate, seed in points:
        seeds[method, rate].append(seed)
    rates: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for (method, rate), found in seeds.items():
        rates[method, tuple(found)].append(rate)
    methods: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = defaultdict(list)
    for (method, found), tried in rates.items():
        methods[tuple(tried), found].append(method)
    return [
        (f"method={','.join(m)}", f"learning_rate={','.join(r)}", f"seed={','.join(s)}")
        for (r, s), m in methods.items()
    ]


def key(point: Point) -> Key:
    method, rate, seed = point
    return method, f"{float(rate):g}", seed


def scores(group: str, method: str) -> dict[float, float]:
    """Learning rate -> in-domain accuracy, the mean over the tuning seeds; 0 for a diverged run."""
    accuracies: dict[Key, float] = {}
    for row in RECORD.rows():
        if row["group"] == group and row["method"] == method:
            accuracies.setdefault(RECORD.key_of(row), 0.0)
            if (row["task"], row["metric"]) == ("in_domain", "accuracy"):
                accuracies[RECORD.key_of(row)] = float(row["value"])
    rates: dict[float, list[float]] = defaultdict(list)
    for (_, rate, _), accuracy in accuracies.items():
        rates[float(rate)].append(accuracy)
    return {rate: fmean(found) for rate, found in rates.items()}


if __name__ == "__main__":
    sys.exit(main())
