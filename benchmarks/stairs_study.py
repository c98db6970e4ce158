"""STAIRS-Former against UPDeT-m, BC-t and its own ablations, on two toy suites of this repository.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/stairs_study.py

Eighty runs: 8 methods x 5 seeds on the grid task (expert data) and on small battles (medium-expert
data), equal numbers of updates, the last evaluation counts. Under two hours on two cores. What has
finished stays finished: the same command goes on where it was stopped. `lab compare --group
stairs-grid` and `--group stairs-battle` print the tables.

Learning rate and all other settings are the published ones (each method's defaults); nothing was
tuned here. Expected, before the runs: on the grid's expert data BC-t at least level with STAIRS,
whose early updates go to the TD term (Q_tot starts far from the rewards, since states are raw
coordinates), and UPDeT-m below both; on the battles STAIRS and BC-t level, UPDeT-m below; the
ablations not told apart by five seeds.
"""

import argparse
import subprocess
import sys

from labrun.runs.run_dir import all_runs, group_of, home

METHODS = "stairs,updet_m,bc_t,no_spatial,no_temporal,no_dropout,no_st,no_std"
EVALUATION = ("rollout.episodes=100", "rollout.num_envs=100", "figures=false")
PARTS = {
    "stairs-grid": ("dataset=grid", "quality=expert", "max_steps=600", "batch_size=32"),
    "stairs-battle": (
        "dataset=battle_small",
        "quality=medium-expert",
        "max_steps=120",
        "batch_size=16",
    ),
}


def main() -> int:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--seeds", default="0,1,2,3,4")
    arguments.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    chosen = arguments.parse_args()
    for part in chosen.parts:
        subprocess.run(
            [sys.executable, "-m", "labrun.cli", *command(part, chosen.seeds)], check=True
        )
    return 0


def command(part: str, seeds: str) -> list[str]:
    """`lab run -m` for a part that has not begun, `lab resume` for one that has."""
    states = [run.status().state for run in all_runs(home()) if group_of(run) == part]
    if not states:
        common = ("evaluate_every=0", "evaluate_start=false", *EVALUATION, *PARTS[part])
        sweep = (f"method={METHODS}", f"seed={seeds}", f"group={part}")
        return ["run", "-m", "plugin=stairs", *sweep, *common]
    if all(state == "done" for state in states):
        return ["compare", "--group", part]
    return ["resume", "--group", part]


if __name__ == "__main__":
    sys.exit(main())
