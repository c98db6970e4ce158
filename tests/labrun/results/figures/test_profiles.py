"""Performance profiles."""

import numpy as np
import pytest
from labrun.results.figures import profiles
from labrun.results.over_tasks import Grid


@pytest.fixture
def grid():
    scores = {"eps": np.array([[0.25, 0.75]]), "ucb": np.array([[0.5, 0.5], [1.0, 0.0]])}
    return Grid("win_rate", 1, ("a", "b"), (0, 0), scores)


def test_a_line_is_the_share_of_seeds_and_tasks_above(grid):
    figure = profiles.draw([grid])
    (axis,) = figure.axes
    lines = {str(line.get_label()): line for line in axis.lines}
    at = [0, 24, 25, 74, 75]
    assert lines["eps"].get_ydata()[at].tolist() == [1.0, 1.0, 0.5, 0.5, 0.0]
    assert lines["ucb"].get_ydata()[[0, 49, 50, 99, 100]].tolist() == [0.75, 0.75, 0.25, 0.25, 0]
    assert len(axis.collections) == 1, "one seed has no band"
    assert axis.get_xlabel() == "win_rate on 2 tasks"
