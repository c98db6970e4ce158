"""Bootstraps: resamples counted by hand, and scipy's."""

import numpy as np
import pytest
from labrun.results.statistics.bootstrap import (
    hierarchical,
    over_clusters,
    over_problems,
    paired,
    resamples,
)
from scipy import stats

SCIPY = {"method": "percentile", "n_resamples": 20_000}


def test_a_resample_draws_as_many_as_there_are():
    counts = resamples(7, np.random.default_rng(0))
    assert counts.shape == (2000, 7)
    assert (counts.sum(1) == 7).all()
    assert counts.mean() == 1.0


def test_intervals_are_scipys_percentile_bootstrap():
    items = np.random.default_rng(1).binomial(8, 0.7, size=(60, 1)) / 8
    (found,) = over_problems(items, np.random.default_rng(2))
    wanted = stats.bootstrap((items[:, 0],), np.mean, **SCIPY, rng=np.random.default_rng(3))
    assert found.mean == pytest.approx(items.mean())
    assert (found.low, found.high) == pytest.approx(wanted.confidence_interval, abs=0.004)


def test_pairs_are_drawn_together():
    rng = np.random.default_rng(4)
    hard = rng.random(80)
    ours, theirs = hard + 0.1 + 0.01 * rng.standard_normal(80), hard
    found = paired(ours, theirs, np.random.default_rng(5))
    difference = (ours - theirs,)
    wanted = stats.bootstrap(difference, np.mean, **SCIPY, rng=np.random.default_rng(6))
    assert (found.low, found.high) == pytest.approx(wanted.confidence_interval, abs=2e-4)
    assert found.high - found.low < 0.006  # unpaired it would be 0.18
    several = paired(np.stack([ours, ours]), np.stack([theirs, theirs]), np.random.default_rng(5))
    assert several == found


def test_an_interval_resamples_problems_with_all_their_rollouts():
    # problem 0 has the flips 1, 1, 1 and problem 1 has 0. Drawn twice, once and never, problem 0
    # gives the means 3*2/(3*2) = 1, 3/4 and 0; the 2.5% point of 0, .75, 1 lies .05 of the way
    # from 0 to .75, the 97.5% point .95 of the way from .75 to 1.
    counts = np.array([[2, 0], [1, 1], [0, 2]])
    found = over_clusters([1.0, 0.0, 1.0, 1.0], [0, 1, 0, 0], counts)
    assert found.mean == 0.75
    assert (found.low, found.high) == pytest.approx((0.0375, 0.9875))


def test_a_resample_without_a_rollout_of_the_kind_does_not_count():
    found = over_clusters([1.0, 0.0], [0, 0], np.array([[2, 0], [1, 1], [0, 2]]))
    assert (found.low, found.mean, found.high) == (0.5, 0.5, 0.5)


def test_the_hierarchical_bootstrap_draws_seeds_and_problems():
    # seeds alone: 0 and 1 on every problem, drawn (0, 0), (0, 1), (1, 0), (1, 1): means 0 to 1
    seeds = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    found = hierarchical(seeds, np.random.default_rng(0))
    assert (found.low, found.mean, found.high) == (0.0, 0.5, 1.0)
    # problems alone: two seeds that agree leave the bootstrap over problems
    items = np.random.default_rng(1).random(50)
    found = hierarchical(np.stack([items, items]), np.random.default_rng(2))
    wanted = stats.bootstrap((items,), np.mean, **SCIPY, rng=np.random.default_rng(3))
    assert (found.low, found.high) == pytest.approx(wanted.confidence_interval, abs=0.006)


def test_the_variances_of_seeds_and_problems_add_up():
    # a_s + b_p: the variance of the mean is var(a) / 4 + var(b) / 40, both with ddof 0
    rng = np.random.default_rng(7)
    a, b = rng.standard_normal(4), rng.standard_normal(40)
    found = hierarchical(a[:, None] + b, np.random.default_rng(8))
    deviation = np.sqrt(a.var() / 4 + b.var() / 40)
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(deviation, rel=0.06)
