"""What a worker does around the parts of a run."""

import json
import sys

import pytest
from labrun import worker
from labrun.attempts import failures
from labrun.attempts.ranks import Place
from labrun.config.experiments import compose
from labrun.errors import EXIT_PREEMPTED
from labrun.plugins import discovery
from labrun.runs import run_dir, submission
from labrun.system import processes
from small_plugin import write


@pytest.mark.parametrize(("ranks", "kept"), [((1, 0), "ValueError"), ((0, 1), "RuntimeError")])
def test_the_first_rank_that_fails_says_why_the_attempt_did(make_run, ranks, kept):
    errors = {1: ValueError("rank 1's own"), 0: RuntimeError("closed by peer")}
    run = make_run()
    draft = run.checkpoints / ".draft-1"
    draft.mkdir(parents=True)
    for rank in ranks:
        worker._keep_failure(run, errors[rank], 0, Place(rank, 2))
        assert draft.exists() == (rank == 1 and ranks[0] == 1)
    failure = failures.of(run, attempt=0)
    assert failure is not None
    assert failure.kind == kept
    worker._keep_failure(run, MemoryError(), 1, Place(0, 2))  # another attempt's is new
    assert failures.of(run, attempt=1).kind == "MemoryError"


def test_a_worker_whose_run_was_cancelled_while_it_started_ends_before_it_trains(make_run):
    run = make_run(state="queued")
    submission.cancel(run.path)
    run.write_status(state="preempted")
    assert worker.main([str(run.path)]) == EXIT_PREEMPTED
    status = run.recorded_status()
    assert (status.state, status.message) == ("preempted", "cancelled before it started")
    assert (status.exit_code, list(run.events())) == (EXIT_PREEMPTED, [])


COUNTS = "ctx.progress(step=32, total=32, stage='make data')\n        return [1.0]"
SEES = "ctx.write_text('said.json', __import__('json').dumps(ctx.run.progress()))"


@pytest.fixture
def mine(tmp_path, monkeypatch):
    parts = "lab_mine/parts.py"
    loads = (parts, "return [1.0]", COUNTS)
    scores = (parts, "return []\n\n\ndef draw", f"{SEES}\n        return []\n\n\ndef draw")
    monkeypatch.syspath_prepend(str(write(tmp_path / "mine", (loads, scores))))
    yield
    discovery.load.cache_clear()
    for name in [name for name in sys.modules if name.startswith("lab_mine")]:
        del sys.modules[name]


@pytest.mark.usefixtures("mine")
def test_steps_of_making_data_are_not_said_to_be_of_the_training(home, monkeypatch):
    monkeypatch.setattr(processes, "STOPS", ())  # the handlers of this process stay
    run = run_dir.create(compose(["plugin=mine"]), root=home)
    assert worker.main([str(run.path)]) == 0
    said = json.loads((run.artifacts / "said.json").read_text())
    assert said["stage"] == "evaluate"
    assert "total" not in said
