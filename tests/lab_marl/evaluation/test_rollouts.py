"""Scores by rollout, on a small real task."""

from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
from lab_marl.environments import layout_of
from lab_marl.environments.interface import Frame
from lab_marl.environments.rollout import Tally
from lab_marl.episodes import hdf5_writer
from lab_marl.episodes.offline_data import OfflineData
from lab_marl.evaluation.config import RolloutConfig
from lab_marl.evaluation.rollouts import RolloutEvaluator, _scores, means
from labrun import LabError, PreemptedError, Score, Setup
from labrun.config.components import build
from labrun.config.experiments import compose
from stairs_cases import random_episodes


class Still:
    """Agents that never move."""

    def start(self, layout, num_envs):
        def act(frame: Frame, live: np.ndarray) -> np.ndarray:
            stay = np.zeros((num_envs, layout.num_agents), np.int64)
            allowed = np.take_along_axis(frame.avail_actions, stay[..., None], -1)[..., 0]
            return np.where(allowed, stay, frame.avail_actions.argmax(-1))

        return act


def context(seed: int = 0):
    """What the evaluator asks of a run's context."""
    return SimpleNamespace(
        step=0,
        derive_seed=lambda *names: abs(hash((seed, *names))) % 2**31,
        heartbeat=lambda: None,
        should_stop=False,
    )


DATA = OfflineData({}, train_tasks=("cn-2",), test_tasks=("cn-2", "cn-3"))


def scores(episodes: int, num_envs: int = 8) -> dict[tuple[str, str], Score]:
    config = RolloutConfig(episodes=episodes, num_envs=num_envs, figures=False)
    found = RolloutEvaluator(config).evaluate(context(), Still(), DATA)
    return {(s.task, s.metric): s for s in found}


def test_every_test_task_is_scored_with_one_item_per_episode():
    found = scores(12)
    for task in ("cn-2", "cn-3"):
        won, returns = found[task, "win_rate"], found[task, "return"]
        assert won.n == len(won.items) == 12
        assert won.value == np.mean(won.items)
        # the grid task rewards success by 1 and nothing else
        assert won.items == returns.items
        lengths = np.array(found[task, "episode_length"].items)
        assert (lengths[np.array(won.items) == 0] == 50).all()


def test_seen_and_unseen_are_means_over_their_tasks():
    found = scores(6)
    assert found["seen", "win_rate"].value == found["cn-2", "win_rate"].value
    assert found["unseen", "win_rate"].value == found["cn-3", "win_rate"].value


def test_means_leave_out_what_has_a_scale_of_its_own():
    made = means("seen", [Score("a", "win_rate", 0.5, 4), Score("b", "win_rate", 1.0, 4)])
    assert made == [Score("seen", "win_rate", 0.75, 2, (0.5, 1.0), over=("a", "b"))]
    assert means("seen", [Score("a", "return", 0.5, 4)]) == []


def test_a_stop_ends_an_evaluation_within_its_episodes():
    ctx, beats = context(), []

    def heartbeat():
        beats.append(1)
        ctx.should_stop = len(beats) == 3

    ctx.heartbeat = heartbeat
    config = RolloutConfig(episodes=4, num_envs=2, figures=False)
    with pytest.raises(PreemptedError, match="stopped before the episodes of cn-2 were over"):
        RolloutEvaluator(config).evaluate(ctx, Still(), DATA)
    assert len(beats) == 3


def test_an_evaluation_can_be_repeated():
    assert scores(6) == scores(6)


def test_without_episodes_nothing_is_played():
    assert scores(0) == {}


def smac_parts(tmp_path, episodes: int):
    """The parts of a run on files of SMAC's 3m."""
    layout = layout_of("3m")
    folder = tmp_path / "3m" / "medium" / "run"
    folder.mkdir(parents=True)
    made = random_episodes(layout, [3, 2, 4])
    hdf5_writer.write(folder / "part_0.h5", made, layout, attributes={})
    words = ["plugin=stairs", "suite=smac-marine-hard", "quality=medium", "num_episodes=0"]
    words += ["train_tasks=[3m]", "test_tasks=[3m]", f"dataset.path={tmp_path}"]
    experiment = compose([*words, f"rollout.episodes={episodes}", "batch_size=2"])
    return build(experiment), experiment.run.resources


@pytest.mark.skipif(find_spec("smac") is not None, reason="SMAC is installed here")
def test_files_of_a_game_that_is_not_here_can_be_trained_on_but_not_played(tmp_path):
    parts, resources = smac_parts(tmp_path / "trained", 0)
    assert parts.plan(resources)["evaluator.rollout"].facts == {"episodes_per_task": 0}
    parts, resources = smac_parts(tmp_path / "played", 4)
    with pytest.raises(LabError, match="smac is not installed"):
        parts.plan(resources)


def test_data_of_another_kind_are_refused():
    with pytest.raises(LabError, match=r"takes dataset=marl\.offline, not int"):
        RolloutEvaluator(RolloutConfig()).plan(Setup(dataset=3))


def test_a_task_without_a_goal_has_no_win_rate():
    tally = Tally(np.array([5.0, 7.0]), np.zeros(2, bool), np.array([100, 100]))
    found = _scores("halfcheetah-2x3", tally)
    assert [(s.metric, s.value) for s in found] == [("return", 6.0), ("episode_length", 100.0)]
    assert means("seen", found) == []
    assert [s.metric for s in _scores("cn-2", tally)] == ["win_rate", "return", "episode_length"]
