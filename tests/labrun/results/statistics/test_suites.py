"""Aggregates over tasks: published values, scipy's, and values by hand."""

import numpy as np
import pytest
from labrun.results.statistics import suites
from scipy import stats

X = np.array([[1, 2], [2, 2], [1, 1], [2, 1]])
Y = np.array([[1, 1], [2, 2], [3, 3]])
"""The scores of rliable's own tests; expected: IQM 1.5 and 2, P(X > Y) 1/3."""


def test_the_values_of_rliables_tests():
    assert (suites.mean(X), suites.iqm(X)) == (1.5, 1.5)
    assert (suites.mean(Y), suites.iqm(Y)) == (2, 2)
    assert suites.probability_of_improvement(X, Y) == pytest.approx(1 / 3)


@pytest.mark.parametrize("shape", [(3, 1), (5, 3), (10, 7)])
def test_the_iqm_is_scipys_trimmed_mean(shape):
    scores = np.random.default_rng(0).random(shape)
    assert suites.iqm(scores) == pytest.approx(stats.trim_mean(scores, 0.25, axis=None))


def test_the_probability_of_improvement_is_mann_and_whitneys_u():
    rng = np.random.default_rng(1)
    ours, theirs = rng.integers(5, size=(6, 3)), rng.integers(5, size=(4, 3))
    shares = [
        stats.mannwhitneyu(ours[:, task], theirs[:, task]).statistic / 24 for task in range(3)
    ]
    assert suites.probability_of_improvement(ours, theirs) == pytest.approx(np.mean(shares))
    back = suites.probability_of_improvement(theirs, ours)
    assert back == pytest.approx(1 - np.mean(shares))


def test_a_profile_is_the_share_of_runs_above():
    # of 1 2 2 2 1 1 2 1: all above 0, four above 1, none above 2
    assert suites.performance_profile(X, [0, 1, 2]).tolist() == [1.0, 0.5, 0.0]


def test_a_stratum_keeps_to_its_task():
    scores = np.array([[0.0, 10.0], [1.0, 11.0], [2.0, 12.0]])
    drawn = suites.stratified(scores, np.random.default_rng(0))
    assert drawn.shape == (2000, 3, 2)
    assert set(drawn[..., 0].ravel()) == {0, 1, 2}
    assert set(drawn[..., 1].ravel()) == {10, 11, 12}
    # tasks are drawn apart: the first row pairs 0 with each of 10, 11, 12
    assert len({tuple(row) for row in drawn[:, 0]}) == 9


def test_tasks_of_the_same_runs_are_drawn_together():
    scores = np.array([[0.0, 10.0, 5.0], [1.0, 11.0, 6.0], [2.0, 12.0, 7.0]])
    drawn = suites.stratified(scores, np.random.default_rng(0), together=[7, 7, 1])
    assert (drawn[..., 1] == drawn[..., 0] + 10).all()
    assert len({tuple(row) for row in drawn[:, 0, [0, 2]]}) == 9


def test_tasks_that_share_their_runs_widen_every_interval():
    # one task six times, in the same runs, says no more than once
    once = np.random.default_rng(5).random((5, 1))
    six, other = np.repeat(once, 6, axis=1), np.full((5, 6), 0.5)
    alike = [0] * 6
    rngs = [np.random.default_rng(6) for _ in range(6)]
    whole = suites.bounded(six, suites.mean, rngs[0], together=alike)
    alone = suites.bounded(once, suites.mean, rngs[1])
    assert (whole.low, whole.high) == pytest.approx((alone.low, alone.high))
    apart = suites.bounded(six, suites.mean, rngs[2])
    assert apart.high - apart.low < 0.6 * (whole.high - whole.low)
    sure, unsure = (
        suites.bounded_improvement(six, other, rng, together=strata)
        for rng, strata in zip(rngs[3:5], (None, alike), strict=True)
    )
    assert unsure.mean == sure.mean == pytest.approx(np.mean(once > 0.5))
    assert unsure.high - unsure.low > 1.5 * (sure.high - sure.low)
    _, ends = suites.bounded_profile(six, [0.5], rngs[5], together=alike)
    assert ends[1, 0] - ends[0, 0] >= 0.6


def test_an_interval_is_scipys_where_there_is_one_task():
    scores = np.random.default_rng(2).random((12, 1))
    found = suites.bounded(scores, suites.mean, np.random.default_rng(3))
    wanted = stats.bootstrap(
        (scores[:, 0],), np.mean, method="percentile", rng=np.random.default_rng(4)
    ).confidence_interval
    assert found.mean == pytest.approx(scores.mean())
    assert (found.low, found.high) == pytest.approx(wanted, abs=0.02)


def test_a_sure_improvement_has_no_width():
    found = suites.bounded_improvement(Y + 10, Y, np.random.default_rng(0))
    assert (found.low, found.mean, found.high) == (1.0, 1.0, 1.0)


def test_a_profile_has_an_interval_at_each_threshold():
    profile, ends = suites.bounded_profile(X, [0.5, 1.5], np.random.default_rng(0))
    assert profile.tolist() == [1.0, 0.5]
    # of 8 draws each above 1.5 with probability 1/2, the 2.5% point is 1 or 2, the 97.5% 6 or 7
    assert ends[:, 0].tolist() == [1.0, 1.0]
    assert 1 / 8 <= ends[0, 1] <= 2 / 8
    assert 6 / 8 <= ends[1, 1] <= 7 / 8
