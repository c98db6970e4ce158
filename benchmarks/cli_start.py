"""Seconds that `lab --help` and `lab plugins` take from a warm disk cache, begun from a shell.

Each is started 20 times after 3 that are not counted, in turn with a Python that does nothing; and
`mlflow --help`, the command of a tool that people use beside it, 3 times. The goal is one of CPU
seconds: other programs make wall seconds longer.
"""

import os
import sys
import tempfile
from pathlib import Path

import harness

GOAL_S = 0.15
WARM_UP = 3
LAB = ("lab --help", "lab plugins")
PEER, PEER_STARTS = "mlflow --help", 3


def main() -> None:
    options = harness.parser("cli_start", __doc__)
    options.add_argument("--starts", type=int, default=20)
    chosen = options.parse_args()
    before = harness.machine()
    commands = (*LAB, "python -c pass", PEER)
    times: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as folder:
        harness.keep_bytecode(Path(folder))
        for start in range(WARM_UP + chosen.starts):
            for name in commands:
                if name != PEER or start < WARM_UP + PEER_STARTS:
                    times[name].append(harness.timed(["sh", "-c", f"exec {name}"], PATH=path))
    found = {}
    for name, taken in times.items():
        found[name] = {
            key: harness.spread([one[key] for one in taken[WARM_UP:]]) for key in taken[0]
        }
        shown = "  ".join(f"{key} {harness.show(one)}" for key, one in found[name].items())
        print(f"{name:<15} {shown}")
    slowest = max(found[name]["cpu_s"]["median"] for name in LAB)
    ratio = found[PEER]["cpu_s"]["median"] / slowest
    print(f"ratio: {PEER} takes {ratio:.1f} times the CPU seconds of the slower of the two")
    met = slowest <= GOAL_S
    print(f"slower median: {slowest:.3f} s  goal <= {GOAL_S} s: {'met' if met else 'not met'}")
    claim = "lab --help and lab plugins take 0.15 s of CPU (median)"
    result = {"claim": claim, "goal_s": GOAL_S, "goal_met": met, "ratio": ratio, "seconds": found}
    settings = {"options": vars(chosen) | {"out": None}, "machine": before}
    harness.write(chosen.out, result | settings)


if __name__ == "__main__":
    main()
