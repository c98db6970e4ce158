"""Events that another process reads ahead are what the run would have read itself."""

import pickle

import psutil
import pytest
from labrun.runs import ahead
from labrun.runs.record import records
from labrun.runs.run_dir import EVENTS
from labrun.runs.seals import DamagedError


@pytest.fixture(autouse=True)
def forking(monkeypatch):
    """Reading ahead is worth it here, and threads of the test's own runner do not matter."""
    monkeypatch.setattr(ahead, "WORTH_BYTES", 1)
    monkeypatch.setattr(ahead, "_may_fork", lambda: True)


@pytest.fixture
def runs(make_run, event):
    events = [event.attempt(1), event.metrics(1, loss=1.0), event.score(1, 0.25)]
    return [make_run(*events, seed=0), make_run(*events, event.metrics(2, loss=0.5), seed=1)]


def without_events(runs):
    for run in runs:
        (run.path / EVENTS).unlink()


def test_results_are_those_that_the_other_process_has_read(runs):
    read = records(runs)
    with ahead.reading(read) as elsewhere:
        assert elsewhere
    without_events(runs)
    assert [run.series() for run in read] == [{"loss": {1: 1.0}}, {"loss": {1: 1.0, 2: 0.5}}]
    assert [run.scores()["test", "accuracy"][1].value for run in read] == [0.25, 0.25]
    assert read[1].seconds() == {1: 2.5, 2: 3.0}


@pytest.mark.parametrize(("bound", "size"), [("WORTH_BYTES", 10_000), ("MOST_BYTES", 10)])
def test_few_events_or_too_many_are_read_when_they_are_asked_for(runs, monkeypatch, bound, size):
    monkeypatch.setattr(ahead, bound, size)
    read = records(runs)
    with ahead.reading(read) as elsewhere:
        assert not elsewhere
    without_events(runs)
    assert [run.series() for run in read] == [{}, {}]


def test_a_damaged_run_is_told_as_ever(runs):
    runs[0].write_status(sealed={"bytes": 1000, "sha256": "0" * 64})
    read = records(runs)
    with ahead.reading(read):
        pass
    with pytest.raises(DamagedError, match="of its 1000 bytes are left"):
        read[0].series()
    assert read[1].series() == {"loss": {1: 1.0, 2: 0.5}}


def test_where_the_other_process_fails_the_run_reads_itself(runs, monkeypatch):
    monkeypatch.setattr(pickle, "dump", lambda *_, **__: 1 / 0)
    read = records(runs)
    with ahead.reading(read):
        pass
    assert read[1].series() == {"loss": {1: 1.0, 2: 0.5}}


def test_an_error_meanwhile_leaves_no_process(runs):
    before = psutil.Process().children()
    with pytest.raises(ZeroDivisionError), ahead.reading(records(runs)):
        raise ZeroDivisionError
    assert psutil.Process().children() == before
