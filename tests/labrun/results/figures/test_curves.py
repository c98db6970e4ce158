"""Learning curves: what is drawn, by value, and the files of each format."""

import math
import subprocess
import sys

import numpy as np
import pytest
from labrun.errors import LabError
from labrun.results import compare
from labrun.results.figures import curves, style

T_1 = 12.706204736174694


@pytest.fixture
def two(make_run, event):
    """Arms momentum and plain of seeds 0 and 1, whose loss is (seed + 1) / step."""
    runs = [
        make_run(
            *(event.metrics(s, loss=(seed + 1) / s, reward=s) for s in (1, 2, 4)),
            seed=seed,
            method=method,
        )
        for method in ("plain", "momentum")
        for seed in (0, 1)
    ]
    return compare.arms(runs)


def test_a_curve_is_the_mean_over_seeds_with_its_t_interval(two):
    curve = curves.curve_of(two[0], "loss")
    assert curve.steps == [1, 2, 4]
    assert curve.mean == pytest.approx([1.5, 0.75, 0.375])
    # of x and 2x: half the t-interval is t(1) x / 2
    assert curve.half_width == pytest.approx(T_1 / 2 * np.array([1, 0.5, 0.25]))
    assert curve.num_seeds == 2


def test_only_steps_that_all_seeds_have_are_drawn(make_run, event):
    runs = [
        make_run(*(event.metrics(s, loss=1.0) for s in steps), seed=seed)
        for seed, steps in enumerate([(1, 2, 3), (2, 3, 4)])
    ]
    (arm,) = compare.arms(runs)
    assert curves.curve_of(arm, "loss").steps == [2, 3]
    assert curves.curve_of(arm, "reward") is None


def test_smoothing_averages_the_last_values_by_hand():
    assert curves.smoothed([1.0, 3.0, 5.0, 9.0], 2).tolist() == [1.0, 2.0, 4.0, 7.0]
    assert curves.smoothed([1.0, 3.0, 5.0], 10).tolist() == [1.0, 2.0, 3.0]
    gap = curves.smoothed([1.0, float("nan"), 3.0, 5.0], 2)
    assert np.isnan(gap).tolist() == [False, True, True, False]
    assert gap[3] == 4.0


def test_a_page_has_two_panels_in_a_row_and_a_column_one(two):
    page = curves.draw(two, ["loss", "reward"])
    assert page.get_figwidth() == 6.8
    assert [axis.get_ylabel() for axis in page.axes] == ["loss", "reward"]
    assert {axis.get_xlabel() for axis in page.axes} == {"optimizer step"}
    column = curves.draw(two, ["loss", "reward"], width="column")
    assert (column.get_figwidth(), column.get_figheight()) == (3.3, pytest.approx(4.7))


def test_lines_are_named_at_their_ends_and_the_band_is_explained(two):
    figure = curves.draw(two, ["loss"])
    texts = {text.get_text(): text for text in figure.axes[0].texts}
    assert set(texts) == {"momentum", "plain"}
    assert texts["momentum"].get_color() == style.COLOURS[0]
    assert figure.get_supxlabel() == "line: mean over 2 seeds; band: 95% t-interval over seeds"
    assert figure.legends == []


def test_long_labels_stand_in_one_legend(make_run, event):
    runs = [
        make_run(*(event.metrics(s, loss=rate) for s in (1, 2)), settings={"a_long_rate": rate})
        for rate in (0.12345678, 0.23456789)
    ]
    figure = curves.draw(compare.arms(runs), ["loss"])
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 2
    assert len(figure.axes[0].texts) == 0


def test_steps_are_whole_numbers(two):
    figure = curves.draw(two, ["loss"])
    figure.draw_without_rendering()
    ticks = figure.axes[0].get_xticks()
    assert ticks.tolist() == np.round(ticks).tolist()


def test_a_value_that_is_not_a_number_leaves_a_gap(make_run, event):
    values = {1: 1.0, 2: float("inf"), 3: 3.0}
    run = make_run(*(event.metrics(s, loss=v) for s, v in values.items()))
    (arm,) = compare.arms([run])
    mean = curves.curve_of(arm, "loss").mean
    assert (mean[0], np.isnan(mean[1]), mean[2]) == (1.0, True, 3.0)


@pytest.mark.parametrize(
    ("metric", "values", "lowest", "highest"),
    [
        ("win_rate", (0.25, 0.75), 0.0, 1.0),
        ("return", (0.25, 0.75), 0.5 - T_1 / 4, 0.5 + T_1 / 4),
        ("success_steps", (2.0, 3.0), 2.5 - T_1 / 2, 2.5 + T_1 / 2),
    ],
)
def test_a_rates_band_ends_at_0_and_1(make_run, event, metric, values, lowest, highest):
    runs = [
        make_run(*(event.score(step, value, metric) for step in (1, 2)), seed=seed)
        for seed, value in enumerate(values)
    ]
    (axis,) = curves.draw(compare.arms(runs), [f"test/{metric}"]).axes
    heights = axis.patches[0].get_xy()[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((lowest, highest))


def test_a_band_is_a_polygon_around_each_stretch_of_known_values(make_run, event):
    values = {1: 1.0, 2: math.nan, 3: 3.0, 4: 4.0}
    runs = [
        make_run(*(event.metrics(s, loss=(seed + 1) * v) for s, v in values.items()), seed=seed)
        for seed in (0, 1)
    ]
    (axis,) = curves.draw(compare.arms(runs), ["loss"]).axes
    assert [patch.get_xy()[:-1, 0].tolist() for patch in axis.patches] == [[1, 1], [3, 4, 4, 3]]
    # of x and 2x: 1.5 x, less and more half the t-interval, t(1) x / 2
    around = [1.5 * x + sign * T_1 / 2 * x for sign, x in ((-1, 3), (-1, 4), (1, 4), (1, 3))]
    assert axis.patches[1].get_xy()[:-1, 1] == pytest.approx(np.array(around))
    low, high = axis.get_ylim()
    assert low < around[1] < around[2] < high


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_equal_figures_are_equal_files(two, tmp_path, ending):
    paths = [
        style.save(curves.draw(two, ["loss"]), tmp_path / name / f"a.{ending}") for name in "xy"
    ]
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    assert first[:5] == {"png": b"\x89PNG\r", "svg": b"<?xml", "pdf": b"%PDF-"}[ending]


def test_a_pdf_embeds_its_fonts_as_truetype(two, tmp_path):
    data = style.save(curves.draw(two, ["loss"]), tmp_path / "a.pdf").read_bytes()
    assert b"/FontFile2" in data
    assert b"/Type3" not in data


def test_another_format_is_refused(tmp_path):
    with pytest.raises(LabError, match=r"cannot draw 'a.jpg'; a figure's name ends in .png, .svg"):
        style.check_path(tmp_path.__class__("a.jpg"))


def test_a_name_with_dollars_is_drawn_as_it_stands(make_run, event, tmp_path):
    run = make_run(*(event.metrics(s, **{"$\\frac$ cost": 1.0}) for s in (1, 2)), method="$x$_")
    figure = curves.draw(compare.arms([run]), ["$\\frac$ cost"])
    assert style.save(figure, tmp_path / "curves.png").exists()
    assert [text.get_text() for text in figure.axes[0].texts] == ["$x$_"]


def test_labels_keep_apart_and_in_order():
    assert style.apart({"a": 0.5, "b": 0.5, "c": 0.0}, line=0.1) == {"c": 0.0, "a": 0.45, "b": 0.55}
    # a label of two lines takes twice the room
    assert style.apart({"a\nb": 0.5, "c": 0.5}, line=0.1) == {"a\nb": 0.45, "c": 0.6}


def test_loading_what_draws_leaves_matplotlib_as_it_is():
    code = (
        "from labrun.results.figures import style; style.load()\n"
        "from matplotlib import artist, lines\n"
        "from matplotlib.figure import Figure\n"
        "assert 'edgecolor' not in Figure.set.__doc__, 'with its list of settings'\n"
        "assert artist.kwdoc(lines.Line2D) and lines.Line2D.__doc__\n"
        "lines.Line2D([0], [0]).set(color='red', linewidth=2)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
