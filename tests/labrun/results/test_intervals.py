import subprocess
import sys

import pytest
from labrun.results.intervals import T_95, t_interval
from scipy import special


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


def test_a_table_of_few_seeds_imports_no_scipy():
    code = "import sys; from labrun.results.intervals import t_interval; t_interval([1.0, 2.0]); "
    subprocess.run([sys.executable, "-c", code + "sys.exit('scipy' in sys.modules)"], check=True)
