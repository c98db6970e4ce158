"""Win rate and return of a policy on every test task, seen and unseen."""

from typing import TYPE_CHECKING

import numpy as np
from labrun import LabError, Plan, PreemptedError, Score, Setup

from lab_marl import environments
from lab_marl.datasets.offline import OfflineDataset
from lab_marl.environments.interface import Policy
from lab_marl.environments.rollout import Tally, score_episodes
from lab_marl.episodes.offline_data import OfflineData
from lab_marl.evaluation.config import RolloutConfig

if TYPE_CHECKING:
    from labrun.runs.context import RunContext

METRICS = ("win_rate", "return", "episode_length")


class RolloutEvaluator:
    """Scores of each test task with one item per episode, then means over the tasks.

    Metrics: `win_rate` (fraction of episodes that reach the task's goal; only of tasks that have
    one), `return` (undiscounted sum of rewards), `episode_length` (transitions). The tasks `seen`
    and `unseen` are means over the test tasks that were and were not trained on, with one item per
    task.
    """

    def __init__(self, config: RolloutConfig) -> None:
        self.config = config

    def plan(self, setup: Setup) -> Plan:
        """Raises LabError for data of another kind, or where a test task cannot be played."""
        dataset = setup.dataset
        if not isinstance(dataset, OfflineDataset):
            raise LabError(
                f"evaluator=marl.rollout takes dataset=marl.offline, not {type(dataset).__name__}"
            )
        if self.config.episodes:
            layouts = dataset.layouts()
            environments.start_one_of_each_family([layouts[task] for task in dataset.tasks.test])
        return Plan({"episodes_per_task": self.config.episodes})

    def evaluate(self, ctx: "RunContext", model: Policy, data: OfflineData) -> list[Score]:
        """Every task has a seed of its own, the same at each evaluation of a run."""
        if self.config.episodes == 0:
            return []
        scores = [
            score
            for task in data.test_tasks
            for score in _scores(task, self._play(ctx, model, task))
        ]
        seen = [s for s in scores if data.seen(s.task)]
        unseen = [s for s in scores if not data.seen(s.task)]
        scores += means("seen", seen) + means("unseen", unseen)
        if self.config.figures and ctx.step > 0:
            from lab_marl.evaluation import figures

            figures.draw(ctx, model, data, scores)
        return scores

    def _play(self, ctx: "RunContext", policy: Policy, task: str) -> Tally:
        return score_episodes(
            lambda num_envs: environments.make(task, num_envs),
            policy,
            environments.layout_of(task),
            episodes=self.config.episodes,
            batch=self.config.num_envs,
            seed=ctx.derive_seed("evaluate", task),
            on_step=lambda _: _go_on(ctx, task),
        )


def _go_on(ctx: "RunContext", task: str) -> None:
    """A sign of life. Raises PreemptedError where the run was asked to stop."""
    ctx.heartbeat()
    if ctx.should_stop:
        raise PreemptedError(f"stopped before the episodes of {task} were over")


def _scores(task: str, tally: Tally) -> list[Score]:
    values = (tally.won.astype(float), tally.returns, tally.lengths.astype(float))
    return [
        Score(task, metric, float(np.mean(items)), len(items), tuple(items.tolist()))
        for metric, items in zip(METRICS, values, strict=True)
        if metric != "win_rate" or environments.has_goal(task)
    ]


def means(name: str, scores: list[Score]) -> list[Score]:
    """The mean of each metric over the tasks of `scores`; nothing where there are none.

    Means of returns and lengths are left out: tasks have scales of their own.
    """
    rates = {score.task: score.value for score in scores if score.metric == "win_rate"}
    if not rates:
        return []
    values = tuple(rates.values())
    return [Score(name, "win_rate", float(np.mean(values)), len(values), values, tuple(rates))]
