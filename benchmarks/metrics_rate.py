"""Metric points a second that a trainer can log, and what a SIGKILL loses of them.

`ctx.log` is called with one metric, and with eight. Beside it: the same lines written by `json` and
one buffered file, which loses them when the process is killed; and `mlflow.log_metric(s)` into the
sqlite store that labrun makes. A point is one value of one metric at one step. The sides alternate.
The goal is one of CPU seconds: other programs make wall seconds longer.

At the end a process that logs one metric a call is killed by SIGKILL, several times. `lost` counts
the points whose call had returned and that events.jsonl does not hold.
"""

import json
import mmap
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

import harness
from labrun.results.store import ensure_sqlite
from labrun.runs.context import RunContext
from labrun.runs.run_dir import RunDir

GOAL = 50_000
RATE = "points_a_cpu_second"
Log = Callable[[int, Mapping[str, float]], object]
KILLED = """
import mmap, struct, sys
import metrics_rate
ctx = metrics_rate.context(sys.argv[1])
with open(sys.argv[2], "r+b") as file:
    count = mmap.mmap(file.fileno(), 8)
for step in range(1, 10**9):
    ctx.log(step, {"loss": step / 7})
    struct.pack_into("q", count, 0, step)
"""


def context(folder: str | Path) -> RunContext:
    """What a component of a run in this folder logs with."""
    return RunContext(
        run=RunDir(Path(folder)),
        seed=0,
        attempt=0,
        devices=(),
        resume_from=None,
        keep_checkpoints=1,
    )


def rate(log: Log, *, width: int, num_calls: int) -> dict[str, float]:
    """Points a second, and a CPU second of this process, of calls with `width` metrics each."""
    values = {f"metric{i}": 0.1234567 * (i + 1) for i in range(width)}
    wall, cpu = time.perf_counter(), time.process_time()
    for step in range(num_calls):
        log(step, values)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    points = width * num_calls
    return {"points_a_second": points / wall, RATE: points / cpu}


def plain(out: TextIO) -> Log:
    """Lines of JSON into one file that stays open, with Python's buffer."""

    def log(step: int, values: Mapping[str, float]) -> None:
        event = {"time": time.time(), "kind": "metrics", "step": step, "metrics": dict(values)}
        out.write(json.dumps(event) + "\n")

    return log


def mlflows(folder: Path) -> Log:
    """MLflow's own calls, into a sqlite store."""
    ensure_sqlite(folder / "mlflow.db")
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.start_run()

    def log(step: int, values: Mapping[str, float]) -> None:
        if len(values) > 1:
            mlflow.log_metrics(dict(values), step=step)
        else:
            for name, value in values.items():
                mlflow.log_metric(name, value, step=step)

    return log


def killed(folder: Path, *, after_s: float) -> dict[str, int]:
    """How many points a process had logged when it was killed, and how many of them are lost."""
    folder.mkdir()
    counter = folder / "count"
    counter.write_bytes(bytes(8))
    words = [sys.executable, "-c", KILLED, str(folder), str(counter)]
    process = subprocess.Popen(words, cwd=Path(__file__).parent)
    with open(counter, "rb") as file, mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ) as count:
        while not struct.unpack_from("q", count, 0)[0]:
            time.sleep(0.01)
        time.sleep(after_s)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        (logged,) = struct.unpack_from("q", count, 0)
    series = RunDir(folder).series()["loss"]
    lost = sum(series.get(step) != step / 7 for step in range(1, logged + 1))
    return {"logged": logged, "lost": lost}


def main() -> None:
    options = harness.parser("metrics_rate", __doc__)
    options.add_argument("--calls", type=int, default=20_000)
    options.add_argument("--mlflow-calls", type=int, default=200)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--kills", type=int, default=5)
    chosen = options.parse_args()
    before = harness.machine()
    rates: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as name, open(f"{name}/plain.jsonl", "w") as out:
        folder = Path(name)
        sides: dict[str, tuple[Log, int]] = {
            "ctx.log": (context(folder).log, chosen.calls),
            "plain JSON lines": (plain(out), chosen.calls),
            "mlflow": (mlflows(folder), chosen.mlflow_calls),
        }
        for _ in range(1 + chosen.repeats):
            for side, (log, num_calls) in sides.items():
                for width in (1, 8):
                    found = rate(log, width=width, num_calls=num_calls)
                    rates.setdefault(f"{side}, {width} a call", []).append(found)
        kills = [killed(folder / f"kill{i}", after_s=0.2 + 0.1 * i) for i in range(chosen.kills)]
    report(rates, kills, chosen, before)


def report(
    rates: Mapping[str, list[dict[str, float]]],
    kills: list[dict[str, int]],
    chosen: Any,
    before: Any,
) -> None:
    """Print and store what was found; the first pass of each side does not count."""
    found = {
        name: {key: harness.spread([one[key] for one in taken[1:]]) for key in taken[0]}
        for name, taken in rates.items()
    }
    for name, spreads in found.items():
        print(f"{name:<26}", *(f"{key} {harness.show(one)} " for key, one in spreads.items()))
    ratios = {}
    for side in ("plain JSON lines", "mlflow"):
        ours, theirs = (found[f"{name}, 1 a call"][RATE]["median"] for name in ("ctx.log", side))
        ratios[side] = ours / theirs
        print(f"ratio: ctx.log takes {ratios[side]:.3g} times as many points as {side}, 1 a call")
    lost, logged = (sum(one[key] for one in kills) for key in ("lost", "logged"))
    print(f"{len(kills)} kills: {lost} of {logged} points lost")
    slowest = found["ctx.log, 1 a call"][RATE]["median"]
    met = slowest >= GOAL and lost == 0
    print(f"goal >= {GOAL} a CPU second, none lost: {'met' if met else 'not met'}")
    claim = f"{GOAL} metric points a second are accepted, and a SIGKILL loses none of them"
    result = {"claim": claim, "goal": GOAL, "goal_met": met, "ratios": ratios, "found": found}
    settings = {"options": vars(chosen) | {"out": None}, "machine": before}
    harness.write(chosen.out, result | {"kills": kills} | settings)


if __name__ == "__main__":
    main()
