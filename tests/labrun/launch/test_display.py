"""The display looks at many waiting runs in turns, and at those that run each time."""

import io
import time

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
    assert looks == [first, *waiting[2:], first, *waiting[:2]]  # the first tick looked at all


def test_closing_looks_at_every_run(runs, looks):
    shown = Display(runs, Console(quiet=True))
    shown.tick()
    del looks[:]
    shown.close()
    assert sorted(looks) == sorted(run.id for run in runs)


def test_a_terminal_is_drawn_no_oftener_than_the_runs_are_looked_at(runs):
    screen = io.StringIO()
    shown = Display(runs, Console(file=screen, force_terminal=True, width=120))
    runs[0].write_status(state="running", host="elsewhere")
    shown.tick()
    time.sleep(1.2)
    drawn = screen.getvalue().count(runs[0].id)
    shown.close()
    assert 2 <= drawn <= 5, "at twice a second; ten times a second would be 12"
