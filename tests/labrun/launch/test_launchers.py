"""Launchers by their names."""

import subprocess
import sys

WITHOUT_RAY = """
import sys
sys.modules["ray"] = None
from labrun.launch import launchers
launchers.of("ray")
"""


def test_a_launcher_without_its_package_says_what_to_install():
    done = subprocess.run([sys.executable, "-c", WITHOUT_RAY], capture_output=True, text=True)
    said = done.stderr.splitlines()[-1]
    assert said.startswith("labrun.errors.LabError: launcher=ray: ray")
    assert said.endswith("is not installed; pip install 'labrun[ray]'")
