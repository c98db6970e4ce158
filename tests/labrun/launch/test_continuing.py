"""A run goes on for more steps as a new run, exactly, or says why it is not the same."""

import json
import re

import pytest
from labrun.config.experiments import compose
from labrun.launch import session
from labrun.runs import run_dir, run_index

WORDS = ("plugin=example", "save_every=3")


@pytest.fixture
def done(fit_here, example):
    """`done(*words)`: a run that is done."""

    def run(*words: str):
        code, run = fit_here(*words)
        assert code == 0
        return run

    return run


def test_four_steps_and_four_more_are_a_run_of_eight(done, lab_here, home):
    """The last checkpoint is of step 3: step 4 is computed again."""
    parent = done(*WORDS, "max_steps=4", "group=a")
    said = lab_here("run", "--from", "last", "max_steps=8", "group=b")
    assert said.returncode == 0, said.stderr
    child = run_index.find("last", home)
    whole = done(*WORDS, "max_steps=8", "group=c")
    assert child.series() == whole.series()
    assert list(child.series()["loss"]) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert child.scores() == whole.scores()
    assert list(child.scores()["held_out", "mse"]) == [0, 8]
    line = f"goes on from {parent.id} at step 3"
    assert f"lab: {line}\n" in said.stderr
    assert f"{child.id}: {line}\n" in said.stdout
    assert list(parent.series()["loss"]) == [1, 2, 3, 4]


def test_a_run_that_goes_on_from_elsewhere_makes_its_data_in_its_own_home(
    example, home, lab_here, tmp_path, monkeypatch
):
    script = tmp_path / "say.py"
    script.write_text("import os\nctx.write_text('home', os.environ['LABRUN_HOME'])\n")
    words = [*WORDS, "max_steps=2", f"trainer.trouble.script={script}"]
    run = run_dir.create(compose(words), root=home)
    monkeypatch.setenv("LABRUN_HOME", str(tmp_path / "other"))
    assert lab_here("resume", str(run.path)).returncode == 0
    assert (run.artifacts / "home").read_text() == str(home)


def test_the_parent_stands_in_the_spec_and_the_lists(done, lab_here, home):
    parent = done(*WORDS, "max_steps=3")
    ((goes_on,), _) = session.plan_from(parent, ["max_steps=4", "save_every=1"], sweep=False)
    child = run_dir.create(goes_on, root=home)
    frozen = json.loads((child.path / "spec.json").read_text())["experiment"]["parent"]
    assert frozen == {
        "run": parent.id,
        "directory": str(parent.path),
        "step": 3,
        "changed": ["trainer.save_every"],
        "follow_max_steps": [],
    }
    assert "parent" not in json.loads((parent.path / "spec.json").read_text())["experiment"]
    assert child.id in lab_here("runs", "--filter", f"parent={parent.id}").stdout
    shown = lab_here("runs", "show", child.id).stdout
    assert f"goes on from {parent.id} at step 3; changed there: trainer.save_every" in shown
    lab_here("runs", "delete", parent.id, "--yes")
    assert child.experiment().parent is not None
    assert lab_here("runs", "show", child.id).returncode == 0


def test_a_schedule_that_ends_with_max_steps_is_named(done, lab_here):
    done(*WORDS, "max_steps=3", "decay=linear")
    said = lab_here("run", "--from", "last", "max_steps=6", "--dry-run").stderr
    assert said.endswith(
        "at step 3; not a run from the start: trainer.decay follows the parent's max_steps until "
        "there\n"
    )


def test_what_the_state_depends_on_is_refused_in_one_line(done, lab_here, home):
    parent = done(*WORDS, "max_steps=3")
    for word, told in {
        "learning_rate=0.2": "trainer.learning_rate=0.2: run .* has 0.1, on which its saved state",
        "seed=1": "seed=1: run .* has 0",
        "noise=0.5": "dataset.noise=0.5: run .* has 0.1",
        "max_steps=3": "run .* has made 3 steps; say max_steps=N with more",
    }.items():
        words = [word] if word.startswith("max_steps") else [word, "max_steps=6"]
        refused = lab_here("run", "--from", parent.id, *words)
        assert refused.returncode == 2
        assert len(refused.stderr.splitlines()) == 1
        assert re.search(told, refused.stderr), refused.stderr
    assert len(run_index.entries(home)) == 1


def test_a_run_without_a_checkpoint_has_no_children(done, lab_here):
    parent = done("plugin=example", "max_steps=0")
    refused = lab_here("run", "--from", parent.id, "max_steps=9")
    assert refused.stderr == (
        f"lab: run {parent.id} has no checkpoint to go on from; start a new run\n"
    )


def test_a_damaged_checkpoint_is_passed_over(done, lab_here):
    parent = done(*WORDS, "max_steps=6")
    (parent.checkpoints / "00000006" / "state.json").write_text("{}")
    said = lab_here("run", "--from", parent.id, "max_steps=8", "--dry-run").stderr
    assert "checkpoint passed over" in said
    assert f"goes on from {parent.id} at step 3" in said
