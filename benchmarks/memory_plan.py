"""Memory of GRPO and SDPO steps on a CPU: what the plan says, and the most that was held.

Each case runs in a process of its own, two steps of 16 rollouts in one micro-batch. The peak is the
process's largest resident set less what it held before the model was made.
"""

import argparse
import importlib
import json
import subprocess
import sys
from dataclasses import asdict
from typing import Any

import harness
from gpu.memory import Case, row_of
from gpu.place import Place

LENGTH = 128
CASES = (
    Case("30M", "float32", LENGTH, checkpointing=False),
    Case("30M", "float32", LENGTH, checkpointing=True),
    Case("30M", "float32", LENGTH, checkpointing=True, has_teacher=True),
)


def main() -> None:
    parser = harness.parser("memory_plan", __doc__)
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case is not None:
        importlib.import_module("lab_llm.training.trainer")  # what it holds is not the model's
        place = Place("cpu", is_small=True, seconds=600.0)
        print(json.dumps(row_of(CASES[arguments.case], place)))
        return
    rows = [measured(number) for number in range(len(CASES))]
    for case, row in zip(CASES, rows, strict=True):
        shown = f"{row['planned_gib']:.2f} GiB planned, {row['measured_gib']:.2f} held"
        print(asdict(case), shown)
    result = {"machine": harness.machine(), "rows": rows}
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


def measured(number: int) -> dict[str, Any]:
    """The row of one case, from a process of its own."""
    words = [sys.executable, __file__, "--case", str(number)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
