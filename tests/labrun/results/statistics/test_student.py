"""Student's t: scipy's numbers, over degrees of freedom from a part of one to a hundred million."""

import math

import pytest
from labrun.results.statistics.student import quantile, tail
from scipy import special

DEGREES = (0.33, 0.7, 1, 1.5, 2, 4, 7.3, 19, 30, 49, 50, 99, 199.5, 999, 1000)
TS = (0.1, 0.5, 1, 1.5, 1.7, 2, 3, 5, 10)


@pytest.mark.parametrize("degrees", DEGREES)
def test_the_tail_is_scipys(degrees):
    expected = [float(special.stdtr(degrees, -t)) for t in TS]
    assert [tail(t, degrees) for t in TS] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("degrees", [*DEGREES, 1e4, 1e6, 1e8])
def test_the_quantile_is_scipys(degrees):
    expected = [float(special.stdtrit(degrees, 0.5 + c / 2)) for c in (0.5, 0.9, 0.95, 0.99)]
    made = [quantile(degrees, c) for c in (0.5, 0.9, 0.95, 0.99)]
    assert made == pytest.approx(expected, rel=1e-12)


def test_with_one_degree_it_is_cauchys():
    # P(T > t) = 1/2 - atan(t) / pi
    assert tail(1.0, 1) == pytest.approx(0.25, rel=1e-14)
    assert tail(math.sqrt(3), 1) == pytest.approx(1 / 6, rel=1e-14)
    assert quantile(1, 0.5) == pytest.approx(1.0, rel=1e-14)


def test_with_two_degrees_it_is_a_root():
    # P(T > t) = (1 - t / sqrt(2 + t^2)) / 2; at t = 1: (1 - 1 / sqrt(3)) / 2
    assert tail(1.0, 2) == pytest.approx((1 - 1 / math.sqrt(3)) / 2, rel=1e-14)


def test_with_many_degrees_it_is_nearly_normal():
    # the normal tail beyond 2, and its first correction (t^3 + t) / (4 n) times the density
    normal = math.erfc(2 / math.sqrt(2)) / 2
    density = math.exp(-2) / math.sqrt(2 * math.pi)
    assert tail(2.0, 1e8) == pytest.approx(normal + 10 / 4e8 * density, rel=1e-12)


def test_the_two_forms_meet_where_one_gives_way_to_the_other():
    for t in (0.5, 2.0, 8.0):
        below, above = tail(t, 1000 - 1e-9), tail(t, 1000)
        assert below == pytest.approx(above, rel=1e-10)


def test_ends_and_what_is_no_number():
    assert tail(0.0, 3) == 0.5
    assert tail(math.inf, 3) == 0.0
    assert math.isnan(tail(math.nan, 3))
    assert math.isnan(tail(1.0, math.nan))
    assert math.isnan(quantile(math.nan, 0.95))
    assert math.isnan(quantile(0, 0.95))
