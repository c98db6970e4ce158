"""What the attention maps show."""

import numpy as np
import pytest
import torch
from lab_stairs.attention_figure import attention_record, draw_attention, token_names
from stairs_cases import grid_layout, marine_layout


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
