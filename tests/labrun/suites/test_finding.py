"""Where suites are found: in a checkout, and in an installed wheel."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from labrun.errors import LabError
from labrun.suites import finding

ROOT = Path(__file__).parents[3]


def test_in_a_checkout_they_lie_in_benchmarks():
    assert finding.files()["rlrt-main"] == ROOT / "benchmarks/suites/rlrt-main.yaml"


def test_a_wheel_holds_every_suite_beside_the_module_that_looks_for_them(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    held = zipfile.ZipFile(wheel).namelist()
    assert {name for name in held if name.endswith(".yaml") and "suites" in name} == {
        f"labrun/suites/published/{name}.yaml" for name in finding.files()
    }
    assert finding.PLACES[0] == Path(finding.__file__).parent / "published"


def test_a_file_of_the_user_s_is_found_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("question: q\narms: {a: x=1}\n")
    assert finding.find("mine.yaml").name == "mine"
    assert finding.find(str(tmp_path / "mine.yaml")).name == "mine"
    with pytest.raises(LabError, match=r"no file mein.yaml; did you mean 'mine.yaml'\?"):
        finding.find("mein.yaml")
    with pytest.raises(LabError, match=r"no suite 'mine'; did you mean 'mine.yaml'\?"):
        finding.find("mine")
