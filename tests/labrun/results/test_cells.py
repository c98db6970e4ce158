"""Cells: which interval stands in them."""

import math

import numpy as np
import pytest
from labrun.results.cells import cell_of
from labrun.results.statistics.bootstrap import hierarchical
from labrun.results.statistics.intervals import crossed_interval, t_interval
from labrun.score import Score

ITEMS = np.array([[0.0, 0.5, 1.0, 1.0], [0.5, 0.5, 1.0, 0.0], [0.0, 0.0, 1.0, 0.5]])


def scores(items):
    return [[Score("t", "m", float(np.mean(row)), len(row), list(row))] for row in items]


def test_an_interval_over_seeds_is_the_default():
    cell = cell_of(scores(ITEMS), "auto")
    wanted = t_interval(ITEMS.mean(1).tolist())
    assert (cell.mean, cell.half_width, cell.n) == (wanted.mean, wanted.half_width, 3)
    assert (cell.by, cell.num_problems) == ("seeds", 4)
    assert cell.values == tuple(ITEMS.mean(1))


def test_one_seed_has_an_interval_over_problems():
    cell = cell_of(scores(ITEMS[:1]), "auto")
    assert (cell.by, cell.n) == ("problems", 1)
    assert cell.half_width == t_interval(ITEMS[0].tolist()).half_width


def test_problems_seeds_and_both_are_asked_for_by_name():
    problems = t_interval(ITEMS.mean(0).tolist()).half_width
    assert cell_of(scores(ITEMS), "problems").half_width == problems
    assert cell_of(scores(ITEMS), "both").half_width == crossed_interval(ITEMS).half_width
    assert math.isnan(cell_of(scores(ITEMS[:1]), "seeds").half_width)


def test_the_bootstrap_s_ends_need_not_be_symmetric():
    cell = cell_of(scores(ITEMS), "bootstrap")
    wanted = hierarchical(ITEMS, np.random.default_rng(0))
    assert (cell.low, cell.high) == (wanted.low, wanted.high)
    assert str(cell) == f"{cell.mean:.3f} [{cell.low:.3f}, {cell.high:.3f}]"


def test_without_items_there_is_none_over_problems():
    (alone,) = scores(ITEMS[:1])
    bare = [[Score("t", "m", alone[0].value, 4)]]
    assert str(cell_of(bare, "auto")) == "0.625"
    unequal = [*scores(ITEMS[:1]), [Score("t", "m", 0.5, 2, [0.0, 1.0])]]
    cell = cell_of(unequal, "both")
    assert (cell.num_problems, math.isnan(cell.half_width)) == (0, True)


@pytest.mark.parametrize("by", ["auto", "problems", "both", "bootstrap"])
def test_a_mean_over_chosen_tasks_has_no_interval_over_them(by):
    seen = [[Score("seen", "win_rate", 0.7, 2, [0.94, 0.46], ["cn-2", "cn-4"])]]
    assert str(cell_of(seen, by)) == "0.700"


def test_scores_of_one_seed_count_as_their_mean():
    twice = [scores(ITEMS)[0] + scores(ITEMS)[1]]
    cell = cell_of(twice, "auto")
    assert cell.mean == pytest.approx(ITEMS[:2].mean())
    assert cell.half_width == t_interval(ITEMS[:2].mean(0).tolist()).half_width


def test_nothing_has_no_cell():
    assert cell_of([], "auto") is None
