import math
import subprocess
import sys

import numpy as np
import pandas
import pytest
from labrun.results.statistics.intervals import (
    T_95,
    clustered_interval,
    crossed_interval,
    t_interval,
)
from scipy import special
from statsmodels.api import OLS
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm


def test_the_quantiles_are_those_of_student_s_t():
    expected = [special.stdtrit(degrees, 0.975) for degrees in range(1, len(T_95) + 1)]
    assert pytest.approx(expected, rel=1e-14) == T_95
    assert T_95[0] == pytest.approx(12.706, abs=1e-3)


@pytest.mark.parametrize("n", [2, 30, 31, 40])
def test_an_interval_is_the_same_on_both_sides_of_the_table(n):
    found = t_interval([float(i) for i in range(n)])
    spread = (n * (n + 1) / 12) ** 0.5  # of 0, 1, ..., n - 1 with ddof 1
    expected = special.stdtrit(n - 1, 0.975) * spread / n**0.5
    assert (found.mean, found.n) == ((n - 1) / 2, n)
    assert found.half_width == pytest.approx(expected, rel=1e-12)


def test_another_confidence_is_not_read_from_the_table():
    wide, narrow = t_interval([1.0, 2.0, 3.0]), t_interval([1.0, 2.0, 3.0], confidence=0.5)
    assert wide.half_width == pytest.approx(2.484, abs=1e-3)
    assert narrow.half_width == pytest.approx(0.4714, abs=1e-4)  # t = 0.8165


def test_intervals_and_paired_tests_import_no_scipy():
    code = (
        "import sys; import numpy as np\n"
        "from labrun.results.statistics import intervals, significance\n"
        "intervals.t_interval([1.0, 2.0] * 40); significance.paired_p(np.array([1.0, 2.0]))\n"
        "sys.exit('scipy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_interval_has_two_ends():
    found = t_interval([1.0, 2.0, 3.0])
    assert (found.low, found.high) == pytest.approx((2 - 2.484, 2 + 2.484), abs=1e-3)


def test_clusters_by_hand():
    # mean 1/2, residual sums 1 and -1: sqrt(2/1 * 2) / 4 = 1/2, times t(1) = 12.706
    found = clustered_interval([1.0, 1.0, 0.0, 0.0], ["a", "a", "b", "b"])
    assert (found.mean, found.n) == (0.5, 2)
    assert found.half_width == pytest.approx(T_95[0] / 2)
    assert math.isnan(clustered_interval([1.0, 0.0], ["a", "a"]).half_width)


def test_clusters_of_one_are_no_clusters():
    values = np.random.default_rng(0).random(20)
    found, wanted = clustered_interval(values, range(20)), t_interval(values)
    assert found.half_width == pytest.approx(wanted.half_width)


def test_clustered_errors_are_statsmodels():
    rng = np.random.default_rng(1)
    problems = np.repeat(np.arange(12), rng.integers(1, 6, size=12))
    values = rng.random(12)[problems] + 0.3 * rng.random(len(problems))
    fitted = OLS(values, np.ones(len(values))).fit(
        cov_type="cluster", cov_kwds={"groups": problems, "use_correction": False}
    )
    error = fitted.bse[0] * math.sqrt(12 / 11)
    found = clustered_interval(values, problems)
    assert found.half_width == pytest.approx(special.stdtrit(11, 0.975) * error)
    assert found.n == 12


def test_seeds_and_problems_by_hand():
    # means of seeds 1, 4, of problems 2, 3: A = 2 * 4.5 = 9, B = 2 * .5 = 1, E = 0; the variance
    # of the mean is (9 + 1 - 0) / 4, of 10^2 / (81 / 1 + 1 / 1) degrees of freedom
    found = crossed_interval(np.array([[0.5, 1.5], [3.5, 4.5]]))
    assert (found.mean, found.n) == (2.5, 2)
    assert found.half_width == pytest.approx(special.stdtrit(100 / 82, 0.975) * math.sqrt(2.5))


def test_the_mean_squares_are_those_of_the_analysis_of_variance():
    rng = np.random.default_rng(2)
    scores = rng.random(4)[:, None] + rng.random(30) + 0.2 * rng.random((4, 30))
    rows = pandas.DataFrame(scores).melt(ignore_index=False, var_name="p").reset_index(names="s")
    a, b, e = anova_lm(ols("value ~ C(s) + C(p)", rows).fit())["mean_sq"]
    freedom = (a + b - e) ** 2 / (a**2 / 3 + b**2 / 29 + e**2 / 87)
    width = special.stdtrit(freedom, 0.975) * math.sqrt((a + b - e) / 120)
    assert crossed_interval(scores).half_width == pytest.approx(width)


def test_it_is_never_narrower_than_over_seeds_or_over_problems_alone():
    # problems that all seeds answer alike, and seeds that are equal: (A + B - E) is B, A is 0
    items = np.random.default_rng(3).random(30)
    found = crossed_interval(np.stack([items, items, items]))
    assert found.half_width == pytest.approx(t_interval(items).half_width)
    assert crossed_interval(items[None]).half_width == t_interval(items).half_width
    assert crossed_interval(np.ones((3, 4))).half_width == 0
    # by hand: A = B = .01 and E = .81, so A + B - E is below both; t(1) sqrt(.01 / 4)
    crossing = crossed_interval(np.array([[0.0, 1.0], [1.0, 0.2]]))
    assert crossing.half_width == pytest.approx(12.7062 * 0.05, rel=1e-5)


def test_numbers_whose_squares_no_float_holds_have_an_interval():
    # as of 1, 2 and 3, whose half width is 2.484
    found = t_interval([1e300, 2e300, 3e300])
    assert str(found) == "2.000e+300 ± 2.484e+300"
    assert str(t_interval([1.0, float("inf")])) == "inf"
