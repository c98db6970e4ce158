"""A run goes on where its checkpoint and its events are both whole, or is refused."""

import json
import os
import shutil
from pathlib import Path

import pytest
from labrun.plan import Plan
from labrun.runs import resume_point, run_dir
from labrun.runs.context import RunContext
from labrun.runs.run_dir import RunDir
from labrun.runs.seals import DamagedError
from labrun.score import Score


def write_w(folder: Path) -> None:
    (folder / "w").write_text("x")


class Counting:
    """An evaluator that gives the step as its score and counts its evaluations."""

    steps: list[int]

    def __init__(self):
        self.steps = []

    def plan(self, setup):
        return Plan()

    def evaluate(self, ctx, model, data):
        self.steps.append(ctx.step)
        return [Score("t", "m", float(ctx.step), 1)]


def attempt(run: RunDir, number: int, *parts) -> RunContext:
    point = resume_point.find(run)
    ctx = RunContext(
        run=run,
        seed=0,
        attempt=number,
        devices=(),
        resume_from=point.path,
        sealed=point.events,
        keep_checkpoints=2,
        evaluators=parts,
    )
    ctx.start_attempt()
    return ctx


def train(ctx: RunContext, steps) -> None:
    """Each step with its checkpoint."""
    for step in steps:
        ctx.log(step, {"loss": 1 / step})
        ctx.save_checkpoint(step, write_w)


@pytest.fixture
def stopped(make_run) -> RunDir:
    """A killed run with checkpoints of steps 3 and 4 and a logged step 5."""
    run = make_run(state="killed")
    ctx = attempt(run, 0)
    train(ctx, (1, 2, 3, 4))
    ctx.log(5, {"loss": 0.2})
    return run


def cut_behind(run: RunDir, words: str) -> None:
    """Cut the events in the middle of the first line that holds the words."""
    path = run.path / "events.jsonl"
    place = path.read_bytes().index(words.encode())
    os.truncate(path, place)


def test_a_whole_run_goes_on_from_its_newest_checkpoint(stopped):
    point = resume_point.find(stopped)
    assert point.path == stopped.checkpoints / "00000004"
    assert point.damage == []
    train(attempt(stopped, 1), (5, 6))
    assert sorted(stopped.series()["loss"]) == [1, 2, 3, 4, 5, 6]
    kinds = [event["kind"] for event in stopped.events()]
    assert kinds.count("metrics") == 7  # step 5 was replayed


def test_events_cut_before_the_newest_seal_go_back_to_the_one_that_holds(stopped):
    cut_behind(stopped, '"step": 4, "metrics"')
    point = resume_point.find(stopped)
    assert point.path == stopped.checkpoints / "00000003"
    assert point.damage == [f"{stopped.path / 'events.jsonl'} is damaged before step 4"]
    train(attempt(stopped, 1), (4, 5))
    assert stopped.series()["loss"] == {n: 1 / n for n in (1, 2, 3, 4, 5)}


@pytest.mark.parametrize("how", ["cut", "emptied", "gone", "flipped", "folder"])
def test_events_damaged_before_every_seal_are_refused(stopped, how):
    path = stopped.path / "events.jsonl"
    text = path.read_bytes()
    if how in ("cut", "emptied"):
        os.truncate(path, 150 if how == "cut" else 0)
    elif how == "flipped":
        path.write_bytes(text.replace(b'"loss": 1.0', b'"loss": 3.0'))
    else:
        path.unlink()
        if how == "folder":
            path.mkdir()
    with pytest.raises(DamagedError, match=r"events\.jsonl is damaged.*`lab resume --restart`"):
        resume_point.find(stopped)
    resume_point.restart(stopped)
    train(attempt(stopped, 1), (1, 2))
    assert stopped.series()["loss"] == {1: 1.0, 2: 0.5}


def test_a_line_that_a_crash_cut_off_is_mended_without_a_word(stopped):
    path = stopped.path / "events.jsonl"
    os.truncate(path, path.stat().st_size - 5)
    train(attempt(stopped, 1), (5,))
    assert sorted(stopped.series()["loss"]) == [1, 2, 3, 4, 5]
    assert [event for event in stopped.events() if event["kind"] == "note"] == []


def test_a_damaged_line_behind_the_seal_is_put_aside_and_said(stopped):
    path = stopped.path / "events.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"step": 5', b'"sXep": 5'))
    train(attempt(stopped, 1), (5,))
    assert sorted(stopped.series()["loss"]) == [1, 2, 3, 4, 5]
    (note,) = [event for event in stopped.events() if event["kind"] == "note"]
    assert note["warning"]
    assert "events.jsonl has a damaged line; it is kept as events.jsonl.damaged-" in note["message"]
    (aside,) = stopped.path.glob("events.jsonl.damaged-*")
    assert b"sXep" in aside.read_bytes()


def test_a_score_altered_behind_the_checkpoint_is_computed_again(make_run):
    run, part = make_run(state="killed"), Counting()
    ctx = attempt(run, 0, part)
    train(ctx, (1,))
    ctx.evaluate(None, None, step=1)
    path = run.path / "events.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"value": 1.0', b'"value": 9.0'))
    attempt(run, 1, part).evaluate(None, None, step=1)
    assert part.steps == [1, 1]
    assert run.scores()["t", "m"][1].value == 1.0


def test_a_whole_evaluation_behind_the_checkpoint_is_not_done_again(make_run):
    run, part = make_run(state="killed"), Counting()
    ctx = attempt(run, 0, part)
    train(ctx, (1,))
    ctx.evaluate(None, None, step=1)
    attempt(run, 1, part).evaluate(None, None, step=1)
    assert part.steps == [1]


def test_events_cut_behind_the_seal_of_the_last_ending_go_back_to_the_checkpoint(stopped):
    ctx = attempt(stopped, 1)
    ctx.log(5, {"loss": 0.2})
    stopped.write_status(state="failed", sealed=ctx.seal_events())
    path = stopped.path / "events.jsonl"
    os.truncate(path, path.stat().st_size - 60)
    with pytest.raises(DamagedError):
        stopped.series()
    train(attempt(stopped, 2), (5,))
    assert sorted(stopped.series()["loss"]) == [1, 2, 3, 4, 5]


def test_checkpoints_that_were_deleted_are_missed(stopped):
    shutil.rmtree(stopped.checkpoints)
    stopped.checkpoints.mkdir()
    with pytest.raises(DamagedError) as error:
        resume_point.find(stopped)
    assert str(error.value) == (
        f"the checkpoints of run {stopped.id} are gone, and there was one at step 4; put them back "
        f"into {stopped.checkpoints}, or `lab resume --restart` begins again at step 0"
    )
    resume_point.restart(stopped)
    assert resume_point.find(stopped).path is None
    attempt(stopped, 1).log(1, {"loss": 7.0})
    assert stopped.series()["loss"] == {1: 7.0}
    assert resume_point.find(stopped).path is None


def test_checkpoints_missed_by_an_attempt_that_resumed_in_an_earlier_version(make_run, event):
    run = make_run(event.attempt(0), event.attempt(1, resumed_from=2), state="killed")
    with pytest.raises(DamagedError, match="there was one at step 2"):
        resume_point.find(run)


def test_a_run_that_never_had_a_checkpoint_begins_again_at_step_0(make_run, event):
    run = make_run(event.attempt(0), event.metrics(1, loss=2.0), state="killed")
    assert resume_point.find(run).path is None
    attempt(run, 1)
    assert run.series() == {}


def test_a_checkpoint_of_an_earlier_version_has_no_seal_and_is_gone_on_from(stopped):
    for folder in stopped.checkpoints.iterdir():
        manifest = json.loads((folder / "manifest.json").read_text())
        old = {key: manifest[key] for key in ("step", "sha256")}
        (folder / "manifest.json").write_text(json.dumps(old))
    point = resume_point.find(stopped)
    assert (point.path, point.events) == (stopped.checkpoints / "00000004", None)
    train(attempt(stopped, 1), (5,))
    assert sorted(stopped.series()["loss"]) == [1, 2, 3, 4, 5]


def test_a_checkpoint_that_could_not_be_loaded_is_passed_over_with_its_reason(stopped):
    point = resume_point.find(stopped, {"00000004": "damaged: optimizer.pt"})
    assert point.path == stopped.checkpoints / "00000003"
    assert point.damage == ["damaged: optimizer.pt"]
    both = {"00000003": "damaged: scheduler.pt", "00000004": "damaged: optimizer.pt"}
    with pytest.raises(DamagedError, match=r"no readable checkpoint in .*: damaged: optimizer\.pt"):
        resume_point.find(stopped, both)


def test_a_restart_leaves_nothing_behind_that_holds(stopped):
    resume_point.restart(stopped)
    assert stopped.series() == {}
    assert not run_dir.has_checkpoint(stopped)
    (aside,) = stopped.path.glob("checkpoints.aside-*")
    assert sorted(path.name for path in aside.iterdir()) == ["00000003", "00000004"]


def test_a_restart_after_a_line_that_was_cut_off_is_an_event_of_its_own(stopped):
    path = stopped.path / "events.jsonl"
    os.truncate(path, path.stat().st_size - 5)
    resume_point.restart(stopped)
    assert [event["kind"] for event in stopped.current_events()] == ["restart"]
