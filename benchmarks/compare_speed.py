"""Seconds of `lab compare` on 100 runs of 1,000 steps, beside MLflow's client on the same runs.

The runs are written by hand: 5 methods of 20 seeds, 8 series of 1,000 points, 5 scores with 200
items. `lab compare` prints the table with paired tests and draws two curves. The peer reads what
that table and those curves need from the store that labrun mirrors the runs into:
`search_runs`, and `get_metric_history` of two series of every run; it computes and draws nothing.
What draws is imported once more alone. Of many events another process reads them meanwhile.
`python -c pass` says how fast the machine is: 9 ms without other programs, where cli_start was
measured.
"""

import dataclasses
import json
import random
import sys
import tempfile
from pathlib import Path

import harness
from labrun.experiment import Experiment, RunConfig
from labrun.runs import run_dir

GOAL_S = 2.0
GROUP = "speed"
METHODS = 5
CURVES = ("series0", "series1")
IMPORTS = "from labrun.results.figures import style; style.load()"
PEER_NAME = "MLflow's client"
PEER = """
import sys
from mlflow import MlflowClient
client = MlflowClient(sys.argv[1])
names = [one.experiment_id for one in client.search_experiments()]
runs = client.search_runs(names, max_results=1000)
points = [client.get_metric_history(r.info.run_id, n) for r in runs for n in sys.argv[2:]]
print(len(runs), sum(map(len, points)))
"""


def write_run(home: Path, index: int, *, num_steps: int) -> None:
    """A done run with eight series and a score that is taken five times."""
    seed, method = divmod(index, METHODS)
    experiment = Experiment(
        plugin="toy",
        run=RunConfig(seed=seed, group=GROUP),
        settings={"trainer": {f"key{i}": i for i in range(30)}},
        components={"trainer": "toy.trainer"},
        choices={"method": f"method{method}"},
        overrides=(f"seed={seed}",),
    )
    run = run_dir.create(experiment, root=home)
    rng = random.Random(index)
    with open(run.path / "events.jsonl", "w") as out:
        for step in range(1, num_steps + 1):
            values = {f"series{i}": rng.random() for i in range(8)}
            event = {"time": 1e9 + step, "kind": "metrics", "step": step, "metrics": values}
            out.write(json.dumps(event) + "\n")
            if step % (num_steps // 5) == 0:
                items = [rng.randrange(5) / 4 for _ in range(200)]
                score = {"task": "test", "metric": "accuracy", "value": sum(items) / 200}
                event = {"time": 1e9 + step, "kind": "score", "step": step}
                out.write(json.dumps(event | {"score": score | {"n": 200, "items": items}}) + "\n")
    status = run_dir.Status(state="done", step=num_steps, exit_code=0)
    (run.path / "status.json").write_text(json.dumps(dataclasses.asdict(status)))


def main() -> None:
    options = harness.parser("compare_speed", __doc__)
    options.add_argument("--runs", type=int, default=100)
    options.add_argument("--steps", type=int, default=1000)
    options.add_argument("--repeats", type=int, default=5)
    chosen = options.parse_args()
    before = harness.machine()
    lab = [sys.executable, "-m", "labrun.cli"]
    with tempfile.TemporaryDirectory() as folder:
        harness.keep_bytecode(Path(folder) / "bytecode")
        home = Path(folder) / "runs"
        for index in range(chosen.runs):
            write_run(home, index, num_steps=chosen.steps)
        harness.timed([*lab, "reindex"], LABRUN_HOME=str(home))
        curves = [word for name in CURVES for word in ("--metric", name)]
        sides = {
            "lab compare": [*lab, "compare", "--group", GROUP, "--baseline", "method0", *curves],
            "lab compare --format json": [*lab, "compare", "--group", GROUP, "--format", "json"],
            "import of matplotlib": [sys.executable, "-c", IMPORTS],
            "python -c pass": [sys.executable, "-c", "pass"],
            PEER_NAME: [*(sys.executable, "-c", PEER, f"sqlite:///{home / 'mlflow.db'}", *CURVES)],
        }
        times: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
        for _ in range(1 + chosen.repeats):
            for name, command in sides.items():
                times[name].append(harness.timed(command, LABRUN_HOME=str(home)))
    found = {
        name: {key: harness.spread([one[key] for one in taken[1:]]) for key in ("wall_s", "cpu_s")}
        for name, taken in times.items()
    }
    for name, spreads in found.items():
        wall, cpu = (harness.show(spreads[key], " s") for key in ("wall_s", "cpu_s"))
        print(f"{name:<28} wall {wall:<26} CPU {cpu}")
    slowest = found["lab compare"]["wall_s"]["median"]
    ratio = found[PEER_NAME]["wall_s"]["median"] / slowest
    print(f"ratio: {PEER_NAME} takes {ratio:.1f} times as long to read alone")
    met = slowest <= GOAL_S
    print(f"lab compare: {slowest:.2f} s  goal <= {GOAL_S} s: {'met' if met else 'not met'}")
    claim = f"lab compare of {chosen.runs} runs of {chosen.steps} steps takes {GOAL_S} s (median)"
    result = {"claim": claim, "goal_s": GOAL_S, "goal_met": met, "ratio": ratio, "seconds": found}
    harness.write(chosen.out, result | {"options": vars(chosen) | {"out": None}, "machine": before})


if __name__ == "__main__":
    main()
