"""Four trials of `make faults LAUNCHER=slurm` find nothing wrong."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from two_nodes import cannot_start

SUPPORT = Path(__file__).parents[1] / "support"
FIRST_SEED = "10"
"""Of four trials that kill two jobs and two workers; test_slurm_jobs.py loses nodes."""


@pytest.mark.skipif(bool(cannot_start()), reason=cannot_start())
def test_four_trials_on_slurm_end_as_uninterrupted_runs_do_and_leave_nothing():
    search = [str(SUPPORT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(search)}
    options = ["--launcher", "slurm", "--trials", "4", "--seed", FIRST_SEED, "--jobs", "2"]
    command = [sys.executable, "-m", "campaign", *options]
    played = subprocess.run(command, env=environment, capture_output=True, text=True)
    if "SLURM cannot start here" in played.stderr:
        pytest.skip(played.stderr.splitlines()[-1])
    assert played.returncode == 0, played.stderr + played.stdout
    line = r"4 trials, (\d+) kills, \d+ resumes: 0 different weights, 0 metrics, 0 scores, .*"
    (counted,) = re.findall(line, played.stdout)
    assert int(counted) >= 2
