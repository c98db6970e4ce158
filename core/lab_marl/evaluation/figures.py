"""The figures of a run: learning curves, an attention map, and an episode in pictures."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from labrun import Score

from lab_marl import environments
from lab_marl.environments import render, rollout
from lab_marl.environments.interface import Actor, Policy, VectorEnv
from lab_marl.episodes.layouts import Layout
from lab_marl.episodes.offline_data import OfflineData

if TYPE_CHECKING:
    from labrun.runs.context import RunContext
    from matplotlib.figure import Figure

DRAWN = ("grid", "battle")
"""Families of tasks that `render` can draw."""
STRIP_FRAMES = 8
"""Pictures of an episode in its strip."""
STRIP_COLUMNS = 4
FRAMES_PER_SECOND = 5.0
"""Speed of the animation; one picture is one step."""
SMOOTHED_SHARE = 0.1
"""Share of the steps over which a curve is averaged."""

Curve = Mapping[int, float]
"""Step -> value."""
Drawn = Callable[[], Mapping[str, "Figure"]]


@runtime_checkable
class WatchedPolicy(Protocol):
    """A policy that can draw what went on inside it along an episode."""

    def watch(self, layout: Layout) -> tuple[Actor, Drawn]:
        """An actor for one copy, and what draws the steps it has played, by a figure's name."""
        ...


def draw(ctx: "RunContext", policy: Policy, data: OfflineData, scores: Sequence[Score]) -> None:
    """All figures, from the run's events, the scores of this evaluation and one more episode."""
    ctx.progress(stage="figures")
    ctx.figure("learning_curves", draw_curves(ctx.run.series(), win_rates(ctx, scores), data))
    task = data.train_tasks[-1]
    if not isinstance(policy, WatchedPolicy) and environments.layout_of(task).family not in DRAWN:
        return  # nothing of an episode could be shown
    env = environments.make(task, 1)
    actor, drawn = _watched(policy, env.layout)
    pictures = play_pictures(env, actor, seed=ctx.derive_seed("figures", task))
    for name, figure in drawn().items():
        ctx.figure(name, figure)
    if pictures:
        render.save_gif(ctx.artifact_path("episode.gif"), pictures, FRAMES_PER_SECOND)
        strip = [pictures[i] for i in spread(len(pictures), STRIP_FRAMES)]
        render.save_strip(ctx.artifact_path("episode.png"), strip, min(len(strip), STRIP_COLUMNS))


def _watched(policy: Policy, layout: Layout) -> tuple[Actor, Drawn]:
    if isinstance(policy, WatchedPolicy):
        return policy.watch(layout)
    return policy.start(layout, 1), dict


def play_pictures(env: VectorEnv, actor: Actor, *, seed: int) -> list[np.ndarray]:
    """Pictures of the first copy along one episode; none where the task has no picture."""
    drawn = env.layout.family in DRAWN
    pictures: list[np.ndarray] = []

    def on_step(step: int) -> None:
        del step  # the environment shows where it is
        if drawn:
            pictures.append(render.frame(env))

    rollout.score(env, actor, seed=seed, on_step=on_step)
    return pictures


def spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` of `count` places, evenly spread, the first and the last among them."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, wanted))})


def win_rates(ctx: "RunContext", scores: Sequence[Score]) -> dict[str, dict[int, float]]:
    """Win rate of each task at each evaluation, this one included."""
    curves: dict[str, dict[int, float]] = {}
    for (task, metric), values in ctx.run.scores().items():
        if metric == "win_rate":
            curves[task] = {step: score.value for step, score in values.items()}
    for score in scores:
        if score.metric == "win_rate":
            curves.setdefault(score.task, {})[ctx.step] = score.value
    return curves


def draw_curves(
    series: Mapping[str, Curve], rates: Mapping[str, Curve], data: OfflineData
) -> "Figure":
    """Losses of each training task over the steps, and win rates of each test task."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6), layout="constrained")
    td, cloning, won = figure.subplots(1, 3)
    for axis, name in ((td, "td_loss"), (cloning, "bc_loss")):
        for task in data.train_tasks:
            if f"{task}/{name}" in series:
                axis.plot(*smoothed(series[f"{task}/{name}"]), label=task)
        axis.set_title(f"{name}, running mean")
        if not axis.lines:
            axis.set_title(f"no {name} in this method")
            axis.set_axis_off()
    if td.lines:
        td.set_yscale("log")
    for task, curve in rates.items():
        if task in data.test_tasks:
            style = "-o" if data.seen(task) else "--s"
            won.plot(list(curve), list(curve.values()), style, label=task, markersize=4)
    won.set_title("win rate (dashed: unseen task)")
    won.set_ylim(-0.03, 1.03)
    for axis in (td, cloning, won):
        axis.set_xlabel("optimizer step")
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize="small")
    return figure


def smoothed(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Steps and running means over the last tenth of the points."""
    steps, values = np.array(list(curve)), np.array(list(curve.values()))
    window = max(1, int(len(values) * SMOOTHED_SHARE))
    sums = np.cumsum(np.concatenate([[0.0], values]))
    start = np.maximum(np.arange(1, len(values) + 1) - window, 0)
    end = np.arange(1, len(values) + 1)
    return steps, (sums[end] - sums[start]) / (end - start)
