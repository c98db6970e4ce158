"""Paired tests: values by hand, scipy's and statsmodels'."""

import math
import tracemalloc

import numpy as np
import pytest
from labrun.results.statistics import significance
from labrun.results.statistics.significance import (
    holm,
    paired_p,
    sign_flip_p,
    smallest_permutation_p,
)
from scipy import stats
from statsmodels.stats.multitest import multipletests


def test_holm_by_hand():
    # ascending .01, .03, .04: x3 = .03, x2 = .06, x1 = .04, raised to the .06 before it
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_paired_t_test_by_hand():
    # differences 1, 2, 3: t = 2 / (1 / sqrt 3) = 3.4641 with 2 degrees of freedom, whose two-sided
    # p is 1 - t / sqrt(t^2 + 2) = 1 - sqrt(12 / 14)
    assert paired_p(np.array([1.0, 2.0, 3.0])) == pytest.approx(1 - (12 / 14) ** 0.5)
    assert paired_p(np.zeros(3)) == 1.0


def test_equal_differences_have_no_p():
    assert math.isnan(paired_p(np.array([0.25, 0.25, 0.25])))
    # equal but for rounding: 0.3 - 0.2 and 0.4 - 0.3 differ in the 17th digit
    rounded = np.array([0.3 - 0.2, 0.4 - 0.3])
    assert np.ptp(rounded) > 0
    assert math.isnan(paired_p(rounded))
    # a small spread is one: mean 1, s = 1e-6 sqrt 2, t = 1e6, p = 1 - 2 atan(t) / pi = 6.4e-7
    assert paired_p(np.array([1 - 1e-6, 1 + 1e-6])) == pytest.approx(2 / math.pi * 1e-6, rel=1e-3)


def test_a_p_that_is_not_there_is_left_out_of_the_correction():
    # of the other two .01 x2 = .02 and .04 x1
    first, missing, last = holm([0.04, math.nan, 0.01])
    assert (first, last) == pytest.approx((0.04, 0.02))
    assert math.isnan(missing)


def test_five_seeds_cannot_reach_a_permutation_p_of_five_percent():
    assert smallest_permutation_p(5) == 0.0625


def test_holm_is_statsmodels():
    ps = np.random.default_rng(0).random(9) ** 3
    assert holm(ps.tolist()) == pytest.approx(multipletests(ps, method="holm")[1])


def test_the_paired_t_test_is_scipys():
    ours, theirs = np.random.default_rng(1).random((2, 6))
    assert paired_p(ours - theirs) == pytest.approx(stats.ttest_rel(ours, theirs).pvalue)


def test_signs_are_flipped_by_hand():
    # the sums of +-1 +-2 +-3 are -6 -4 -2 0 0 2 4 6; four of the eight lie 4 or more from 0
    assert sign_flip_p(np.array([1.0, -2.0, -3.0])) == 4 / 8
    assert sign_flip_p(np.array([1.0, 2.0, 3.0])) == 2 / 8 == smallest_permutation_p(3)
    # equal differences have a p, other than with Student
    assert sign_flip_p(np.array([0.25, 0.25, 0.25])) == 2 / 8
    assert sign_flip_p(np.zeros(4)) == 1.0
    assert math.isnan(sign_flip_p(np.array([1.0, math.nan])))


@pytest.mark.parametrize("n", [5, 9])
def test_flipping_signs_is_scipys_exact_permutation_test(n):
    values = np.random.default_rng(n).standard_normal(n) + 0.5
    wanted = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_p(values) == pytest.approx(wanted.pvalue)


def test_rounding_parts_no_equal_sums():
    # .1 + .2 is not .3: the two signs that give the observed sum back must count
    assert sign_flip_p(np.array([0.1, 0.2, -0.3])) == 1.0


@pytest.mark.parametrize("at_once", [17, 17 * 333, 2**18])
def test_signs_that_are_drawn_in_blocks_are_those_that_are_drawn_at_once(monkeypatch, at_once):
    values = np.random.default_rng(3).standard_normal(17) + 0.3
    signs = np.random.default_rng(4).choice((-1, 1), size=(20_000, 17))
    as_far = np.abs(signs @ values) >= abs(values.sum()) * (1 - 1e-9)
    monkeypatch.setattr(significance, "AT_ONCE", at_once)
    rng = np.random.default_rng(4)
    assert sign_flip_p(values, rng) == (1 + as_far.sum()) / 20_001
    after = np.random.default_rng(4)
    after.choice((-1, 1), size=(20_000, 17))
    assert rng.random() == after.random()


def test_many_differences_take_little_memory():
    values = np.ones(2000)
    tracemalloc.start()
    assert sign_flip_p(values) == 1 / 20_001
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6  # all signs at once take 20,000 * 2000 * 8 bytes, and more than once


def test_many_differences_draw_their_signs():
    values = np.random.default_rng(3).standard_normal(40) + 0.3
    found = sign_flip_p(values, np.random.default_rng(4))
    assert found == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.01)
    assert sign_flip_p(np.ones(40)) == 1 / 20_001
