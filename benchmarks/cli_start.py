"""Seconds that `lab --help` and `lab plugins` take from a warm disk cache.

Each is started 20 times after 3 that are not counted. For comparison, a Python that does nothing.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import harness

GOAL_S = 0.2
WARM_UP = 3


def seconds(command: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    options = harness.parser("cli_start", __doc__)
    options.add_argument("--starts", type=int, default=20)
    chosen = options.parse_args()
    before = harness.machine()
    lab = str(Path(sys.executable).with_name("lab"))
    commands = {
        "lab --help": [lab, "--help"],
        "lab plugins": [lab, "plugins"],
        "python -c pass": [sys.executable, "-c", "pass"],
    }
    found = {}
    for name, command in commands.items():
        times = [seconds(command) for _ in range(WARM_UP + chosen.starts)][WARM_UP:]
        found[name] = harness.spread(times)
        print(f"{name:<15} {harness.show(found[name], ' s')}")
    slowest = max(found[name]["median"] for name in ("lab --help", "lab plugins"))
    met = slowest <= GOAL_S
    print(f"slower median: {slowest:.3f} s  goal <= {GOAL_S} s: {'met' if met else 'not met'}")
    claim = "lab --help and lab plugins start in 0.2 s (median)"
    result = {"claim": claim, "goal_s": GOAL_S, "goal_met": met, "seconds": found}
    settings = {"options": vars(chosen) | {"out": None}, "machine": before}
    harness.write(chosen.out, result | settings)


if __name__ == "__main__":
    main()
