"""The display looks at many waiting runs in turns, and at those that run each time."""

import io

import pytest
from labrun.config.experiments import compose
from labrun.launch import display
from labrun.launch.display import Display
from labrun.runs import run_dir
from rich.console import Console


@pytest.fixture
def runs(home, example):
    return [
        run_dir.create(compose(["plugin=example", f"seed={seed}"]), root=home) for seed in range(5)
    ]


@pytest.fixture
def looks(monkeypatch):
    """The ids of the runs that were looked at, in order."""
    ids = []
    look = display._Shown.look
    monkeypatch.setattr(display._Shown, "look", lambda self: ids.append(self.run.id) or look(self))
    monkeypatch.setattr(display, "TICK_S", 0.0)
    monkeypatch.setattr(display, "MOST_LOOKS", 2)
    return ids


def test_waiting_runs_are_looked_at_in_turns_and_a_running_one_each_time(runs, looks):
    shown = Display(runs, Console(quiet=True))
    runs[0].write_status(state="running", host="elsewhere")
    shown.tick()
    del looks[:]
    for _ in range(2):
        shown.tick()
    first, *waiting = (run.id for run in runs)
    assert looks == [first, *waiting[:2], first, *waiting[2:]]


def test_closing_looks_at_every_run(runs, looks):
    shown = Display(runs, Console(quiet=True))
    shown.tick()
    del looks[:]
    shown.close()
    assert sorted(looks) == sorted(run.id for run in runs)


@pytest.mark.parametrize("most", [1, 2, 3, 5, 50])
@pytest.mark.parametrize("ended", [0, 3])
def test_no_run_at_rest_is_passed_over(most, ended, runs, looks, monkeypatch):
    """As many ticks as the runs take reach each of them, wherever the turns before have ended."""
    shown = Display(runs, Console(quiet=True))
    for run in runs[:ended]:
        run.write_status(state="running", host="elsewhere")
    shown.tick()
    monkeypatch.setattr(display, "MOST_LOOKS", most)
    for _ in range(3):
        shown.tick()  # with fewer at rest
    for run in runs[:ended]:
        run.write_status(state="done")
    shown.tick()
    del looks[:]
    for _ in range(-(-len(runs) // most)):
        shown.tick()
    assert set(looks) == {run.id for run in runs}


def test_a_terminal_is_drawn_no_oftener_than_the_runs_are_looked_at(runs):
    shown = Display(runs, Console(file=io.StringIO(), force_terminal=True))
    drawn_per_s = shown._view._progress.live.refresh_per_second
    shown.close()
    assert drawn_per_s <= 1 / display.TICK_S
