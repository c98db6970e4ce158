"""Memory of GRPO and SDPO steps on a CPU: what the plan says, and the most that was held.

Each case runs in processes of its own, two steps of 16 rollouts in one micro-batch. The peak is the
process's largest resident set less what it held before the model was made: Python and its
libraries. glibc keeps blocks below a threshold when they are freed, and lets the threshold grow to
32 MiB, so that the resident set is more than what is in use. A second process has the threshold
fixed at 128 KiB: it gives back what is freed, as the plan counts it.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
from dataclasses import asdict
from typing import Any

import harness
from gpu.memory import Case, peak, row_of
from gpu.place import Place

LENGTH = 128
CASES = (
    Case("30M", "float32", LENGTH, checkpointing=False, num_prompts=2),
    Case("30M", "float32", LENGTH, checkpointing=True, num_prompts=2),
    Case("30M", "float32", LENGTH, checkpointing=True, has_teacher=True, num_prompts=2),
)
GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": "131072"}
"""With it glibc gives blocks of 128 KiB and more back as soon as they are freed."""


def main() -> None:
    parser = harness.parser("memory_plan", __doc__)
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case is not None:
        importlib.import_module("lab_llm.training.trainer")  # what it holds is not the model's
        place = Place("cpu", is_small=True, seconds=600.0)
        before = {"process_gib": peak(place) / 2**30}
        print(json.dumps({**before, **row_of(CASES[arguments.case], place)}))
        return
    rows = [measured(number) for number in range(len(CASES))]
    for case, row in zip(CASES, rows, strict=True):
        print(asdict(case), {name: round(gib, 2) for name, gib in row.items()})
    result = {"machine": harness.machine(), "rows": rows}
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


def measured(number: int) -> dict[str, float]:
    """What was planned of a case, held before its model and by it, and in use (GiB)."""
    held, used = run(number), run(number, **GIVES_BACK)
    return {
        "process_gib": held["process_gib"],
        "planned_gib": held["planned_gib"],
        "held_gib": held["measured_gib"],
        "in_use_gib": used["measured_gib"],
    }


def run(number: int, **variables: str) -> dict[str, Any]:
    """The row of one case, from a process of its own with these variables."""
    words = [sys.executable, __file__, "--case", str(number)]
    here = {**os.environ, **variables}
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, env=here)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
