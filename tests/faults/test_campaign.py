"""Twelve trials of `make faults`, one round of all its subjects, find nothing wrong."""

import os
import re
import subprocess
import sys
from pathlib import Path

SUPPORT = Path(__file__).parents[1] / "support"
FIRST_SEED = "696"
"""Of twelve trials that kill every kind of target at every moment, a rank in its update too."""


def test_twelve_trials_end_as_uninterrupted_runs_do_and_leave_nothing():
    search = [str(SUPPORT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(search)}
    command = [sys.executable, "-m", "campaign", "--trials", "12", "--seed", FIRST_SEED]
    played = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert played.returncode == 0, played.stderr + played.stdout
    line = r"12 trials, (\d+) kills, \d+ resumes: 0 different weights, 0 metrics, 0 scores, .*"
    (counted,) = re.findall(line, played.stdout)
    assert int(counted) >= 8  # a run may end before the moment of a kill comes
