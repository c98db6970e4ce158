"""Performance profiles."""

import numpy as np
import pytest
from labrun.results.figures import profiles
from labrun.results.over_tasks import Grid


@pytest.fixture
def grid():
    scores = {
        "eps": np.array([[0.0625, 0.75]]),
        "ucb": np.array([[0.5, 0.5], [1.0, 0.0]]),
        "ts": np.array([[0.5, 0.5], [1.0, 0.0], [0.5, 0.75]]),
    }
    return Grid("win_rate", 1, ("a", "b"), (0, 0), scores)


def test_a_line_is_the_share_of_seeds_and_tasks_above(grid):
    figure = profiles.draw([grid])
    (axis,) = figure.axes
    lines = {str(line.get_label()): line for line in axis.lines}
    steps = [0, 0.0625, 0.5, 0.75, 1]
    assert lines["eps"].get_xdata().tolist() == lines["ucb"].get_xdata().tolist() == steps
    assert lines["eps"].get_ydata().tolist() == [1, 0.5, 0.5, 0, 0]
    assert lines["ucb"].get_ydata().tolist() == [0.75, 0.75, 0.25, 0.25, 0]
    assert lines["ts"].get_ydata() == pytest.approx(np.array([5, 5, 2, 1, 0]) / 6)
    assert len(axis.collections) == 1, "fewer than three seeds have no band"
    assert axis.get_xlabel() == "win_rate on 2 tasks"
