"""What the figures show."""

import numpy as np
import pytest
import torch
from lab_stairs.attention import attention_record, draw_attention, token_names
from lab_stairs.figures import draw_curves, smoothed, spread
from lab_stairs.offline_data import OfflineData
from stairs_cases import grid_layout, marine_layout


def test_curves_are_averaged_over_the_last_tenth_of_their_points():
    steps, values = smoothed({i: float(i) for i in range(20)})
    assert steps.tolist() == list(range(20))
    assert values[:3].tolist() == [0.0, 0.5, 1.5]  # windows of two points
    assert values[-1] == pytest.approx(18.5)


def test_a_short_curve_stays_as_it_is():
    assert smoothed({3: 1.0, 5: 2.0})[1].tolist() == [1.0, 2.0]


def test_pictures_are_spread_from_first_to_last():
    assert spread(3, 8) == [0, 1, 2]
    assert spread(15, 8) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert spread(1, 8) == [0]


def test_tokens_are_named_in_the_order_of_the_network():
    assert token_names(grid_layout(2), temporal=True) == (
        "landmark 1",
        "landmark 2",
        "ally 1",
        "own",
        "low history",
        "high history",
    )
    assert token_names(marine_layout(2, 1), temporal=False) == (
        "ally 1",
        "own",
        "enemy 1",
        "history",
    )


def test_the_record_takes_the_first_agents_rows_of_the_last_applications():
    def attention(queries: int, value: float) -> torch.Tensor:
        made = torch.zeros(1, 2, 1, queries, 3)  # S, agents, heads, queries, keys
        made[0, 0] = value
        made[0, 1] = -1.0
        return made

    steps = [[attention(3, 0.1), attention(3, 0.2), attention(2, 0.3 + t)] for t in range(2)]
    record = attention_record(grid_layout(), steps, temporal=True)
    np.testing.assert_allclose(record.own, [[0.3] * 3, [1.3] * 3])
    assert record.pairs is not None
    np.testing.assert_allclose(record.pairs, np.full((2, 3, 3), 0.2))


def test_without_a_second_block_only_the_own_row_is_drawn():
    steps = [[torch.ones(1, 1, 1, 2, 6) / 6]]
    record = attention_record(grid_layout(), steps, temporal=True)
    assert record.pairs is None
    assert len(draw_attention(record, task="cn-2").subfigs[0].axes) == 2


def test_every_attention_map_has_the_scale_of_its_colour_bar():
    steps = [
        [torch.full((1, 1, 1, 6, 6), 0.1 + t / 10), torch.full((1, 1, 1, 2, 6), 0.4)]
        for t in range(5)
    ]
    record = attention_record(grid_layout(), steps, temporal=True)
    above, below = draw_attention(record, task="cn-2").subfigs
    for part, largest in ((above, 0.4), (below, 0.5)):
        *maps, bar = part.axes
        for axis in maps:
            assert axis.images[0].get_clim() == pytest.approx((0.0, largest))
        assert bar.get_ylim() == pytest.approx((0.0, largest))


def test_win_rates_of_unseen_tasks_are_dashed():
    data = OfflineData({}, train_tasks=("a",), test_tasks=("a", "b"))
    rates = {"a": {0: 0.1, 9: 0.5}, "b": {0: 0.0, 9: 0.2}, "seen": {0: 0.1}}
    figure = draw_curves({"a/td_loss": {1: 2.0}, "a/bc_loss": {1: 1.0}}, rates, data)
    lines = {line.get_label(): line.get_linestyle() for line in figure.axes[2].lines}
    assert lines == {"a": "-", "b": "--"}
