"""What `lab doctor` says, and leases on the real device: jobs of two commands never share a GPU."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

from labrun.runs import run_dir

from gpu.place import Place, Rows

LAB = (sys.executable, "-m", "labrun.cli")
SEEDS = "0,1,2"
EXAMPLE = Path(__file__).parents[2] / "tests" / "example_plugin"
"""The plugin of the tests, whose jobs are short; it is not installed."""


def rows(place: Place) -> Rows:
    found = subprocess.run([*LAB, "doctor"], capture_output=True, text=True)
    for line in found.stdout.splitlines():
        yield {"check": "doctor", "finding": line.strip()}
    yield {"check": "doctor's exit code", "finding": found.returncode}
    if place.device == "cpu":
        yield {"check": "leases", "finding": "not checked: no GPU"}
        return
    yield from leases()


def leases() -> Rows:
    """Two commands with three jobs each, every job with the GPU to itself."""
    home = run_dir.home()
    named = home.parent / "named" / "labrun_example-1.2.dist-info"
    named.mkdir(parents=True)
    (named / "METADATA").write_text("Metadata-Version: 2.1\nName: labrun-example\nVersion: 1.2\n")
    (named / "entry_points.txt").write_text("[labrun]\nexample = example_plugin.plugin\n")
    paths = [str(named.parent), str(EXAMPLE), os.environ.get("PYTHONPATH", "")]
    words = ["plugin=example", f"seed={SEEDS}", "max_steps=3", "sleep_s=0.3"]
    words += ["resources.num_gpus=1", "resources.wait=true"]
    environment = {**os.environ, "LABRUN_HOME": str(home), "PYTHONPATH": os.pathsep.join(paths)}
    commands = [
        subprocess.Popen([*LAB, "run", "-m", *words, f"group=leases{n}"], env=environment)
        for n in range(2)
    ]
    codes = [command.wait() for command in commands]
    spans = []
    for run in run_dir.all_runs(home):
        status = json.loads((run.path / "status.json").read_text())
        spans.append((status["started"], status["ended"], tuple(status["devices"])))
    spans.sort()
    overlaps = sum(after[0] < before[1] for before, after in pairwise(spans))
    yield {"check": "lease: exit codes", "finding": str(codes)}
    yield {"check": "lease: jobs", "finding": len(spans)}
    yield {"check": "lease: devices", "finding": str(sorted({span[2] for span in spans}))}
    yield {"check": "lease: jobs at one time on one GPU", "finding": overlaps}
