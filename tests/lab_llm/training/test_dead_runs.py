"""What a run is warned of that took its steps and learned nothing."""

import pytest
from lab_llm.training.dead_runs import faults, warn_of_dead_run
from labrun.runs.context import RunContext
from labrun.runs.run_dir import RunDir


def series(reward, *, uniform, grad_norm, truncated=(0.0, 0.0)):
    names = ("reward", "uniform_group_fraction", "grad_norm", "truncated_fraction")
    values = (reward, uniform, grad_norm, truncated)
    return {name: dict(enumerate(of, 1)) for name, of in zip(names, values, strict=True)}


def test_reward_0_at_every_step_is_told_with_the_cause_that_shows():
    dead = series((0.0, 0.0), uniform=(1.0, 1.0), grad_norm=(0.0, 0.0), truncated=(1.0, 1.0))
    reward, gradient = faults(dead, distils=False)
    assert reward == (
        "reward 0 at every step (2 logged): no completion was right, and each was cut off at "
        "trainer.max_completion_length; look at the completions, the answers and the verifier"
    )
    assert gradient == "the gradient was 0 at every step (2): nothing was learned"


@pytest.mark.parametrize("reward", [(1.0, 1.0), (0.5, 0.0), (0.1, 0.1)])
def test_uniform_groups_at_every_step_are_told(reward):
    found = faults(series(reward, uniform=(1.0, 1.0), grad_norm=(0.1, 0.1)), distils=False)
    assert [text.partition(" (")[0] for text in found] == [
        "every group had equal rewards at every step"
    ]


def test_distillation_learns_from_equal_rewards_unless_its_gradient_is_0():
    uniform = {"reward": (1.0, 1.0), "uniform": (1.0, 1.0)}
    assert faults(series(**uniform, grad_norm=(0.1, 0.1)), distils=True) == []
    assert faults(series(**uniform, grad_norm=(0.0, 0.0)), distils=True) == [
        "the gradient was 0 at every step (2): nothing was learned"
    ]


def test_a_run_that_learned_at_one_step_is_not_warned():
    assert faults(series((0.0, 0.2), uniform=(1.0, 0.5), grad_norm=(0.0, 0.1)), distils=False) == []
    assert faults({}, distils=False) == []


def test_a_run_is_warned_once(tmp_path):
    run = RunDir(tmp_path)
    ctx = RunContext(run=run, seed=0, attempt=0, devices=(), resume_from=None, keep_checkpoints=1)
    ctx.start_attempt()
    ctx.log(1, {"reward": 0.0, "uniform_group_fraction": 1.0, "grad_norm": 0.3})
    for _ in range(2):
        warn_of_dead_run(ctx, distils=False)
    warnings = [event for event in run.events() if event.get("warning")]
    assert [event["message"].partition(" (")[0] for event in warnings] == ["reward 0 at every step"]
