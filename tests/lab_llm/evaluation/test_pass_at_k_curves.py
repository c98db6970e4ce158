"""pass@k curves: values worked out by hand, intervals against another computation."""

import numpy as np
import pytest
from lab_llm.evaluation.pass_at_k_curves import curve, draw

REWARDS = [[1.0, 0.0, 0.0, 0.5], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]


def test_a_curve_by_hand():
    found = curve(REWARDS, np.random.default_rng(0))
    assert (found.num_problems, found.num_samples, found.ks) == (3, 4, (1, 2, 4))
    # mean rewards .375, .5, 0; correct 1, 2, 0 of 4; pass@2 = 1/2, 1 - 1/6, 0; pass@4 = 1, 1, 0
    assert found.accuracy.mean == pytest.approx(0.875 / 3)
    assert [p.mean for p in found.pass_at_k] == pytest.approx([0.25, (1 / 2 + 5 / 6) / 3, 2 / 3])
    # With three problems an interval's ends are those of all of one problem: (1/27 each > 2.5%).
    assert (found.pass_at_k[2].low, found.pass_at_k[2].high) == (0.0, 1.0)
    written = found.as_json()
    assert [point["k"] for point in written["pass_at_k"]] == [1, 2, 4]
    assert written["accuracy"]["mean"] == found.accuracy.mean


def test_the_figure_has_a_panel_a_set_with_its_curve_and_accuracy():
    found = curve(REWARDS, np.random.default_rng(0))
    figure = draw(dict.fromkeys(("a", "b", "c", "d"), found))
    shown = [panel for panel in figure.axes if panel.axison]
    assert [panel.get_title().split(",")[0] for panel in shown] == ["a", "b", "c", "d"]
    assert "avg@4 0.292 [" in shown[0].get_title()
    assert figure.get_supxlabel() == "band and brackets: 95% interval over problems"
    line = shown[3].lines[0]
    assert list(line.get_ydata()) == [point.mean for point in found.pass_at_k]
    assert list(line.get_xdata()) == [1, 2, 4]
    assert [panel.get_ylabel() for panel in shown] == ["pass@k", "", "", "pass@k"]


def test_the_name_of_a_set_is_no_formula():
    figure = draw({r"set $\no{formula$": curve(REWARDS, np.random.default_rng(0))})
    figure.draw_without_rendering()  # where text is read as a formula, this one has an error
    assert figure.axes[0].get_title().startswith(r"set $\no{formula$, 3 problems")
