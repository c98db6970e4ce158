"""pass@k against enumeration, and its limits."""

from itertools import combinations

import numpy as np
import pytest
from labrun.results.statistics.success_rates import (
    avg_at_k,
    pass_at_each,
    pass_at_k,
    powers_of_two,
)


@pytest.mark.parametrize("num_samples", [1, 2, 5, 7])
def test_it_is_the_share_of_subsets_that_hold_a_correct_sample(num_samples):
    for num_correct in range(num_samples + 1):
        rewards = [1] * num_correct + [0] * (num_samples - num_correct)
        for k in range(1, num_samples + 1):
            subsets = list(combinations(rewards, k))
            share = sum(map(max, subsets)) / len(subsets)
            assert pass_at_k(num_samples, num_correct, k) == pytest.approx(share, abs=1e-12)


def test_large_numbers_stay_finite():
    # 1 - C(9999, 5000) / C(10000, 5000) = 1 - 5000/10000
    assert pass_at_k(10_000, 1, 5_000) == pytest.approx(0.5)
    assert pass_at_k(10_000, 9_000, 5_000) == 1.0


@pytest.mark.parametrize(("n", "c", "k"), [(4, 2, 5), (4, 2, 0), (4, 5, 1), (4, -1, 1)])
def test_impossible_counts_are_errors(n, c, k):
    with pytest.raises(ValueError, match="samples"):
        pass_at_k(n, c, k)


def test_avg_at_k_is_the_mean():
    assert avg_at_k([1.0, 0.0, 0.0, 1.0]) == 0.5
    with pytest.raises(ValueError, match="no samples"):
        avg_at_k([])


def test_ks_are_powers_of_two_and_all_samples():
    assert powers_of_two(1) == (1,)
    assert powers_of_two(5) == (1, 2, 4, 5)
    assert powers_of_two(8) == (1, 2, 4, 8)


def test_each_problem_has_its_row_and_each_k_its_column():
    # of 4 samples: 1 - C(3,2)/C(4,2) = 1/2, 1 - C(2,2)/C(4,2) = 5/6
    table = pass_at_each(4, [1, 2, 0], (1, 2))
    assert table == pytest.approx(np.array([[1 / 4, 1 / 2], [1 / 2, 5 / 6], [0, 0]]))
