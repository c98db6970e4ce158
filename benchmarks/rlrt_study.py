"""Every method of the comparison on the tiny model at equal steps: learning rates, then seeds.

    OMP_NUM_THREADS=1 python benchmarks/rlrt_study.py

Four parts, each a group of runs that `lab compare --group NAME` shows.

- `rlrt-tune`: 9 methods x 3 learning rates x seeds 100 and 101, scored on the validation split (45
  problems, 16 samples). A method's rate is the one with the highest mean in-domain accuracy.
- `rlrt-study`: 9 methods, each at its rate, seeds 0 to 4, scored on the evaluation split.
- `rlrt-equal`: GRPO and RLRT at one rate, the middle one, seeds 0 to 4. Added when a first study,
  tuned on seed 100 alone, was seen: the rates of its methods came out far apart, and its table
  followed the rates.
- `rlrt-regime`: GRPO and RLRT, at that one rate too, where the paper's claim should show if it
  shows at this scale: a harder training family (four numbers, solved 40 % of the time at the start)
  and larger groups (32). Seeds 0 to 4, run once.

40 batches of 256 rollouts, each for 4 optimizer steps, so that the importance ratio is not 1 and
its clip (clip-higher) can act. About two hours on two cores. What has finished stays finished: the
same command goes on where it was stopped.

Expected, before the runs. In the study: GRPO, RLRT, clip-higher and the entropy-shaped advantage
within each other's intervals in-domain; the entropy bonus level or a little below; RLSD and
following level in-domain, below GRPO on ood_large; RLRT with more epistemic words than GRPO and
longer completions; RLRT-all with the longest completions and the highest entropy, perhaps with a
collapse in one seed; SDPO lowest in accuracy on the OOD sets and with the fewest epistemic words.
pass@8 is near its ceiling (.98) at the start and will not tell methods apart. At equal rates
(expected before those runs): RLRT within GRPO's interval in-domain, below it on ood_large, with
more epistemic words; both better on the OOD sets than at the rate 1e-3. In the regime: RLRT at
least level with GRPO on ood_four; a difference of .03 would not be told apart by five seeds.
"""

import argparse
import subprocess
import sys
from collections import defaultdict
from statistics import fmean

from labrun.runs.run_dir import RunDir
from study_record import method_of, runs_of

METHODS = (
    "grpo",
    "rlsd",
    "following",
    "rlrt",
    "rlrt_all",
    "sdpo",
    "entropy_bonus",
    "clip_higher",
    "entropy_shaped",
)
RATES = ("1.5e-4", "4e-4", "1e-3")
TUNING_SEEDS = ("100", "101")
BATCHES = ("num_minibatches=4", "save_every=80", "evaluate_every=0")
TUNING = ("dataset.eval_split=validation", "dataset.eval_size=null", "accuracy.num_samples=16")
SCORING = ("accuracy.num_samples=8", "accuracy.pass_k=[8]")
STUDY = ("max_steps=160", "evaluate_every=80", *SCORING)
EQUAL = ("method=grpo,rlrt", f"learning_rate={RATES[1]}")
REGIME = (
    "dataset.train_family=ood_four",
    "num_generations=32",
    "prompts_per_step=8",
    "max_steps=160",
    *SCORING,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--seeds", default="0,1,2,3,4")
    arguments = parser.parse_args()
    for part in arguments.parts:
        PARTS[part](arguments.seeds)
    return 0


def tune(_: str) -> None:
    sweep = (f"method={','.join(METHODS)}", f"learning_rate={','.join(RATES)}")
    for seed in TUNING_SEEDS:
        finish("rlrt-tune", f"seed={seed}", "max_steps=160", *TUNING, *sweep, start=False)


def study(seeds: str) -> None:
    for rate, methods in by_rate(METHODS).items():
        sweep = (f"method={','.join(methods)}", f"learning_rate={rate}", f"seed={seeds}")
        finish("rlrt-study", *sweep, *STUDY)


def equal(seeds: str) -> None:
    finish("rlrt-equal", *EQUAL, f"seed={seeds}", "max_steps=160", *SCORING, start=False)


def regime(seeds: str) -> None:
    finish("rlrt-regime", *EQUAL, f"seed={seeds}", *REGIME, start=False)


PARTS = {"tune": tune, "study": study, "equal": equal, "regime": regime}


def finish(group: str, *words: str, start: bool = True) -> None:
    """Run the sweep, or what is left of it."""
    chosen = {word.split("=", 1)[0]: word for word in (*BATCHES, *words)}
    mine = [run for run in runs_of(group) if is_of(run, chosen)]
    left = [run.id for run in mine if run.status().state != "done"]
    begun = {method_of(run) for run in mine}
    new = [method for method in values(chosen["method"]) if method not in begun]
    if left:
        lab("resume", *left)
    if new:
        chosen["method"] = f"method={','.join(new)}"
        common = ("plugin=rlrt", f"group={group}", f"evaluate_start={str(start).lower()}")
        lab("run", "-m", *common, *chosen.values())


def lab(*words: str) -> None:
    print("lab", *words, flush=True)
    subprocess.run([sys.executable, "-m", "labrun.cli", *words], check=True)


def by_rate(methods: tuple[str, ...]) -> dict[str, list[str]]:
    """Rate -> the methods whose rate it is."""
    found: dict[str, list[str]] = defaultdict(list)
    for method in methods:
        scores = tuning_scores(method)
        best = max(RATES, key=lambda rate: scores[float(rate)])
        table = ", ".join(f"{rate} {scores[float(rate)]:.3f}" for rate in RATES)
        print(f"{method}: {table} -> {best}", flush=True)
        found[best].append(method)
    return found


def tuning_scores(method: str) -> dict[float, float]:
    """Learning rate -> validation accuracy, in-domain, the mean over the tuning seeds."""
    found: dict[float, list[float]] = defaultdict(list)
    for run in runs_of("rlrt-tune"):
        if method_of(run) == method:
            scores = run.scores()["in_domain", "accuracy"]
            found[rate_of(run)].append(scores[max(scores)].value)
    return {rate: fmean(accuracies) for rate, accuracies in found.items()}


def rate_of(run: RunDir) -> float:
    return float(run.experiment().settings["trainer"]["learning_rate"])


def is_of(run: RunDir, sweep: dict[str, str]) -> bool:
    """Whether the run is one that these words start."""
    rates = [float(rate) for rate in values(sweep["learning_rate"])]
    return (
        method_of(run) in values(sweep["method"])
        and rate_of(run) in rates
        and str(run.experiment().run.seed) in values(sweep["seed"])
    )


def values(word: str) -> list[str]:
    """["a", "b"] of the word `name=a,b`."""
    return word.split("=", 1)[1].split(",")


if __name__ == "__main__":
    sys.exit(main())
