"""Two runs differ in the settings, the provenance and the scores that are named."""

import json
import os

import pytest
from labrun.results.run_diff import diff


def test_a_diff_names_what_differs_and_every_score(make_run, event):
    one = make_run(event.score(3, 0.5), settings={"rate": 0.1, "only": 1})
    other = make_run(event.score(3, 0.75), seed=1, settings={"rate": 0.2})
    for run, commit in ((one, "a"), (other, "b")):
        repository = {"distributions": ["labrun"], "commit": commit, "changed": False}
        said = {"time": commit, "host": "here", "packages": {"numpy": "1"}, "seed": commit}
        (run.path / "provenance.json").write_text(json.dumps(said | {"repositories": [repository]}))
    (one.path / "code.diff").write_text("x")
    found = diff(one, other)
    assert found.settings == {
        "seed": (0, 1),
        "trainer.rate": (0.1, 0.2),
        "trainer.only": (1, "-"),
    }
    assert found.provenance == {
        "code.labrun.commit": ("a", "b"),
        "code.diff": ("2d711642b726", "-"),
    }
    assert found.scores == {"test/accuracy": (0.5, 0.75)}


def test_a_run_does_not_differ_from_itself(make_run, event):
    run = make_run(event.score(3, 0.5))
    found = diff(run, run)
    assert (found.settings, found.provenance) == ({}, {})
    assert found.scores == {"test/accuracy": (0.5, 0.5)}


@pytest.mark.parametrize(
    ("put", "why"), [(os.mkdir, "Is a directory"), (os.mkfifo, "Not a regular file")]
)
def test_a_diff_that_cannot_be_read_differs_and_says_why(make_run, put, why):
    one, other = make_run(), make_run()
    put(one.path / "code.diff")
    (other.path / "code.diff").write_text("x")
    assert diff(one, other).provenance == {"code.diff": (f"cannot be read: {why}", "2d711642b726")}
