"""What the figures show."""

import pytest
from lab_marl.episodes.offline_data import OfflineData
from lab_marl.evaluation.figures import draw_curves, smoothed, spread


def test_curves_are_averaged_over_the_last_tenth_of_their_points():
    steps, values = smoothed({i: float(i) for i in range(20)})
    assert steps.tolist() == list(range(20))
    assert values[:3].tolist() == [0.0, 0.5, 1.5]  # windows of two points
    assert values[-1] == pytest.approx(18.5)


def test_a_short_curve_stays_as_it_is():
    assert smoothed({3: 1.0, 5: 2.0})[1].tolist() == [1.0, 2.0]


def test_pictures_are_spread_from_first_to_last():
    assert spread(3, 8) == [0, 1, 2]
    assert spread(15, 8) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert spread(1, 8) == [0]


def test_win_rates_of_unseen_tasks_are_dashed():
    data = OfflineData({}, train_tasks=("a",), test_tasks=("a", "b"))
    rates = {"a": {0: 0.1, 9: 0.5}, "b": {0: 0.0, 9: 0.2}, "seen": {0: 0.1}}
    figure = draw_curves({"a/td_loss": {1: 2.0}, "a/bc_loss": {1: 1.0}}, rates, data)
    lines = {line.get_label(): line.get_linestyle() for line in figure.axes[2].lines}
    assert lines == {"a": "-", "b": "--"}


def test_a_loss_that_the_method_lacks_has_no_empty_panel():
    data = OfflineData({}, train_tasks=("a",), test_tasks=("a",))
    figure = draw_curves({"a/bc_loss": {1: 1.0}}, {"a": {0: 0.1}}, data)
    assert [axis.axison for axis in figure.axes] == [False, True, True]
    assert figure.axes[0].get_title() == "no td_loss in this method"
