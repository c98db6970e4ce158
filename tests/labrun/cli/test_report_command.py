"""`lab report` on a sweep of the NumPy example."""

import re
from pathlib import Path

import pytest


@pytest.fixture
def sweep_here(swept, monkeypatch, example, home) -> Path:
    monkeypatch.setenv("LABRUN_HOME", str(swept))
    return swept


def test_a_group_becomes_one_file_beside_its_tables(sweep_here, lab_here):
    done = lab_here("report", "--group", "sweep", "--baseline", "plain")
    path = sweep_here / "compare" / "sweep" / "report.html"
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"report   {path}\n"
    page = re.sub(r"<[^>]+>", "", path.read_text())
    assert "What difference does method make: plain or momentum?" in page
    assert "6 runs: 6 done" in page
    assert "lab run -m plugin=example method=plain,momentum seed=0,1,2 group=sweep" in page
    assert "lab report --group sweep --baseline plain" in page
    assert "Samples" not in page


def test_a_file_of_the_users_and_a_question(sweep_here, lab_here, tmp_path):
    path = tmp_path / "new" / "mine.html"
    done = lab_here("report", "-o", str(path), "--question", "Is it faster?", "--metric", "loss")
    assert done.stdout == f"report   {path}\n"
    assert "Is it faster?</h1>" in path.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--group", "swep"], "did you mean 'sweep'?"),
        (["--baseline", "adam"], "no baseline 'adam'; allowed: momentum, plain"),
        (["--interval", "ci"], "no --interval 'ci'; allowed: auto, bootstrap, both"),
        (["--metric", "los"], "no metric 'los'; did you mean 'loss'?"),
        (["-o", "/"], "-o / is a folder; name a file, such as report.html"),
        (["-o", "/proc/none/x.html"], "cannot write /proc/none/x.html: "),
        (["-o", "/dev/null/x.html"], "cannot write /dev/null/x.html: "),
    ],
)
def test_a_slip_is_one_line(sweep_here, lab_here, words, said):
    done = lab_here("report", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
