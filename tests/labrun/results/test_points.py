"""What a run logged or scored under one name."""

import pytest
from labrun.errors import LabError
from labrun.results import points


def test_points_are_those_of_a_series_or_of_a_score(make_run, event):
    run = make_run(event.metrics(1, loss=3.0), event.metrics(2, loss=2.0), event.score(2, 0.5))
    assert points.points(run, "loss") == {1: 3.0, 2: 2.0}
    assert points.points(run, "test/accuracy") == {2: 0.5}
    assert points.metric_names([run]) == ["loss", "test/accuracy"]


def test_unknown_metric_is_refused_with_its_nearest_neighbour(make_run, event):
    run = make_run(event.metrics(1, loss=3.0))
    with pytest.raises(LabError, match="no metric 'los'; did you mean 'loss'"):
        points.check_metrics(["los"], [run])
