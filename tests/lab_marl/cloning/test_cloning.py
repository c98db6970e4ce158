"""BC-t and BC-r, and what all baselines share: rows, transformer, optimizer, greedy policy."""

import dataclasses

import numpy as np
import pytest
import torch
from baseline_cases import (
    CPU,
    SMALL,
    best,
    continues_exactly,
    replay,
    set_weights,
    wave_batch,
    wave_episodes,
)
from lab_marl.cloning.config import BCConfig
from lab_marl.cloning.learner import BCLearner
from lab_marl.cloning.method import check
from lab_marl.cloning.objectives import action_cross_entropy
from lab_marl.episodes.batches import make_batch
from lab_marl.episodes.layouts import Layout
from lab_marl.networks.checks import check_tasks
from lab_marl.networks.config import TransformerConfig
from lab_marl.networks.embedding import action_scores
from lab_marl.networks.rows import cloned_rows, filled_rows, step_mask, stepped_rows
from lab_marl.networks.transformer import HistoryTransformer, TokenTransformer
from lab_marl.training.optimization import Optimization
from labrun import DivergedError, LabError
from stairs_cases import grid_layout, marine_layout

tensor = torch.tensor
GRID, MARINES = grid_layout(3), marine_layout(3, 4)


def learner(layout: Layout, **settings) -> BCLearner:
    made = BCLearner([layout], BCConfig(**SMALL, **settings), device=CPU)
    set_weights(made.network)
    return made


def test_filled_mask_weighs_episodes_by_their_transitions_and_ignores_the_last_frame():
    episodes = wave_episodes(MARINES, [4, 2])
    made = learner(MARINES, bc_mask="filled")
    both, long, short = (
        made.loss(make_batch(MARINES, episodes, np.array(index), device=CPU))
        for index in ([0, 1], [0], [1])
    )
    torch.testing.assert_close(both, (4 * long + 2 * short) / 6)


def test_published_mask_sums_padding_but_divides_by_the_valid_steps():
    batch = wave_batch(GRID, [4, 1])
    made = learner(GRID)
    logits = made.network(batch, cloned_rows(batch, "published"))
    # Two episodes of five frames are summed; 4 + 1 steps are valid.
    total = action_cross_entropy(logits, batch.actions.flatten(0, 1)).mean(1).sum()
    torch.testing.assert_close(made.loss(batch), total / 5)


def test_an_attack_is_the_mean_of_its_enemys_outputs():
    layout = marine_layout(1, 2)
    head = torch.arange(18.0).view(1, 1, 3, 6)
    # Own token 0..5, enemies 6..11 (mean 8.5) and 12..17 (mean 14.5).
    expected = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 8.5, 14.5]
    assert action_scores(layout, head)[0, 0].tolist() == expected
    assert action_scores(grid_layout(1), head)[0, 0].tolist() == expected[:6]


def test_rows_hold_what_their_names_say():
    batch = wave_batch(GRID, [3, 1])
    assert filled_rows(batch).counts == (2, 2, 1, 1)
    assert cloned_rows(batch, "published").counts == (2, 2, 2, 2)
    assert cloned_rows(batch, "filled").counts == (2, 1, 1)
    assert stepped_rows(batch, "published").counts == (2, 2, 2)
    assert stepped_rows(batch, "filled").counts == (2, 1, 1)
    assert stepped_rows(batch, "filled").steps.tolist() == [0, 0, 1, 2]
    assert step_mask(batch, "published").sum(1).tolist() == [2, 1, 1, 0]


def test_only_the_filled_mask_leaves_out_the_last_frame_of_an_episode_that_was_cut_off():
    batch = wave_batch(GRID, [2])
    cut = dataclasses.replace(batch, terminated=torch.zeros_like(batch.terminated))
    assert step_mask(cut, "published")[:, 0].tolist() == [1, 1, 1]
    assert step_mask(cut, "filled")[:, 0].tolist() == [1, 1, 0]


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("heads", [1, 2])
def test_a_batch_at_once_gives_what_step_by_step_gives(depth, heads):
    torch.manual_seed(0)
    transformer = HistoryTransformer(TransformerConfig(width=8, depth=depth, heads=heads))
    counts = (3, 3, 1)
    tokens = torch.randn(sum(counts), 2, 4, 8)
    whole = transformer.unroll(tokens, counts, read=2)
    history, steps = transformer.begin(6), []
    for part in tokens.split(counts):
        out, history = transformer.step(part, history[: part.shape[0] * 2], read=2)
        steps.append(out)
    torch.testing.assert_close(whole, torch.cat(steps))


def test_a_transformer_without_history_is_blocks_and_an_output_layer():
    torch.manual_seed(0)
    transformer = TokenTransformer(TransformerConfig(width=8, depth=2))
    tokens = torch.randn(5, 2, 4, 8)
    first, second = transformer.blocks
    x = tokens.flatten(0, 1)
    x = first(x, first.key_value(x))
    x = transformer.output(second(x, second.key_value(x)))
    torch.testing.assert_close(transformer(tokens, read=3), x.view(5, 2, 4, 8)[:, :, :3])


def test_two_heads_mix_the_values_of_each_head():
    transformer = TokenTransformer(TransformerConfig(width=2, heads=2))
    block = transformer.last
    with torch.no_grad():
        # Equal scores: head 0 gives the mean of x, head 1 that of -x; the output adds 2 and 1
        # times these, so the block sees x + mean.
        block.query.weight.zero_()
        eye = torch.eye(2)
        block.key_value.weight.copy_(torch.cat([torch.zeros(4, 2), eye, -eye]))
        block.out.weight.copy_(torch.cat([2 * eye, eye], 1))
        block.out.bias.zero_()
        block.feed_forward[2].weight.zero_()
        block.feed_forward[2].bias.zero_()
        block.norm1, block.norm2 = torch.nn.Identity(), torch.nn.Identity()
    x = tensor([[[1.0, 2.0], [3.0, 6.0]]])
    out = block(x, block.key_value(x))
    assert out.tolist() == [[[3.0, 6.0], [5.0, 10.0]]]


@pytest.mark.parametrize("layout", [GRID, MARINES], ids=["grid", "marines"])
def test_policy_takes_the_best_available_action_and_remembers(layout):
    made = learner(layout)
    with torch.no_grad():
        made.network.head.bias.sub_(50)
    played = replay(made.policy(), wave_batch(layout, [5, 5]))
    scores = made.network(played, filled_rows(played))
    assert torch.equal(played.actions, best(scores, played))
    assert played.actions.unique().numel() > 1


def test_policy_of_bc_r_asks_for_the_target_return_at_every_step():
    made = learner(MARINES, condition="return", target_return=2.5)
    played = replay(made.policy(), wave_batch(MARINES, [4]))
    rows = filled_rows(played)
    scores = made.network(played, rows, torch.full((5, 3, 1), 2.5))
    assert torch.equal(played.actions, best(scores, played))


def test_without_a_given_target_the_largest_return_seen_is_asked_for():
    made = learner(GRID, condition="return")
    assert made.target_return == 0
    batch = wave_batch(GRID, [1, 1])
    for total, expected in [(-3.0, -3.0), (2.0, 2.0), (1.0, 2.0)]:
        reward = tensor([[-9.0, total], [0.0, 0.0]])
        made.update(dataclasses.replace(batch, reward=reward))
        assert made.target_return == expected


def test_resumed_training_is_exact():
    batches = [wave_batch(MARINES, [3, 2]), wave_batch(MARINES, [4]), wave_batch(MARINES, [2])]
    for condition in ("none", "return"):
        assert continues_exactly(
            lambda c=condition: BCLearner([MARINES], BCConfig(condition=c, **SMALL), device=CPU),
            [*batches, *batches[:2]],
            saved_after=3,
        )


def test_one_step_applies_the_sum_of_the_gathered_gradients_clipped():
    x = torch.nn.Parameter(tensor([0.0, 0.0]))
    made = Optimization([x], learning_rate=0.1, max_grad_norm=1.0)
    made.gather(3 * x[0], task="a")
    made.gather(4 * x[1], task="a")
    assert x.grad is not None
    assert x.grad.tolist() == [3, 4]
    assert made.step(task="a") == 5.0
    # Adam's first step is the rate in each direction, whatever the clipped gradient's length.
    torch.testing.assert_close(x.detach(), tensor([-0.1, -0.1]))
    moments = made.optimizer.state_dict()["state"][0]["exp_avg"]
    torch.testing.assert_close(moments, tensor([0.06, 0.08]))
    assert x.grad is None


def test_decay_is_decoupled_from_the_gradient():
    x = torch.nn.Parameter(tensor([2.0]))
    made = Optimization([x], learning_rate=0.1, max_grad_norm=1.0, weight_decay=0.5)
    made.gather(x.sum(), task="a")
    made.step(task="a")
    # 2 (1 - .1 * .5) - .1
    torch.testing.assert_close(x.detach(), tensor([1.8]))


def test_a_loss_or_gradient_that_is_not_finite_ends_training():
    x = torch.nn.Parameter(tensor([0.0]))
    made = Optimization([x], learning_rate=0.1, max_grad_norm=1.0)
    with pytest.raises(DivergedError, match="task cn-2: loss nan"):
        made.gather((x / 0).sum(), task="cn-2")
    made.gather(x.sqrt().sum(), task="cn-2")
    with pytest.raises(DivergedError, match="task cn-2: gradient norm inf"):
        made.step(task="cn-2")


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (dataclasses.replace(GRID, continuous=True), "is continuous; take a method for"),
        (grid_layout(16), "has 16 agents, id_bits=4"),
    ],
    ids=["continuous", "agents"],
)
def test_tasks_that_the_network_cannot_serve_are_refused(layout, message):
    with pytest.raises(LabError, match=message):
        check_tasks([layout], method="BC", id_bits=4)
    with pytest.raises(LabError, match=message):
        BCLearner([layout], BCConfig(**SMALL), device=CPU)


def test_tasks_of_two_kinds_are_refused():
    with pytest.raises(LabError, match="cannot share one network"):
        BCLearner([GRID, MARINES], BCConfig(**SMALL), device=CPU)


def test_a_policy_refuses_a_task_with_more_agents_than_codes():
    with pytest.raises(LabError, match="has 16 agents"):
        learner(GRID).policy().start(grid_layout(16), 1)


def test_a_target_return_without_condition_is_refused():
    with pytest.raises(LabError, match=r"trainer\.target_return=3\.0 asks for a return"):
        check(BCConfig(target_return=3.0), [GRID], [GRID])
