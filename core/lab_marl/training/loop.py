"""One offline run: the training loop that every offline multi-agent method shares."""

from collections.abc import Callable, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

import torch
from labrun import LabError, PreemptedError, TrainResult
from labrun.attempts.loading import loading

from lab_marl.episodes.batches import make_batch
from lab_marl.episodes.layouts import Layout
from lab_marl.episodes.offline_data import OfflineData
from lab_marl.training.config import OfflineSettings
from lab_marl.training.learner import Learner, Remarking, Resuming

if TYPE_CHECKING:
    from labrun.runs.context import RunContext

MakeLearner = Callable[[Sequence[Layout], torch.device], Learner]
"""(layouts of the training tasks, device) -> a fresh learner."""

STATE = "learner.pt"


def train(
    ctx: "RunContext", data: OfflineData, settings: OfflineSettings, make: MakeLearner
) -> TrainResult:
    """Train from `ctx.resume_from` or from the start; the learner is left in `artifacts/`."""
    _check_sizes(data, settings.batch_size)
    device = choose_device(settings.device, ctx.devices)
    torch.manual_seed(ctx.derive_seed("weights"))
    learner = make([data.tasks[task].layout for task in data.train_tasks], device)
    done = 0
    if ctx.resume_from is not None:
        with loading(ctx.resume_from / STATE):
            state = torch.load(ctx.resume_from / STATE, map_location=device, weights_only=True)
            take = learner.resume if isinstance(learner, Resuming) else learner.load_state_dict
            take(state["learner"])
            done = int(state["step"])
    elif settings.weights:
        load(learner, Path(settings.weights), device, key="trainer.weights=")
    if isinstance(learner, Remarking):
        for remark in learner.remarks():
            ctx.note(remark)
    if _scored_after(done, settings, resumed=ctx.resume_from is not None):
        ctx.evaluate(learner.policy(), data, step=done)
    for step in range(done + 1, settings.max_steps + 1):
        if ctx.should_stop:
            raise PreemptedError(f"stopped at step {step - 1} of {settings.max_steps}")
        ctx.log(step, _update(ctx, data, settings, learner, step, device))
        ctx.progress(step=step, total=settings.max_steps, stage="train")
        _after_step(ctx, data, settings, learner, step)
    if settings.max_steps > 0:
        save(learner, settings.max_steps, ctx.artifact_path(STATE).parent)
    return TrainResult(learner.policy(), settings.max_steps)


def _update(
    ctx: "RunContext",
    data: OfflineData,
    settings: OfflineSettings,
    learner: Learner,
    step: int,
    device: torch.device,
) -> dict[str, float]:
    """The metrics of one optimizer step, also under the name of its task."""
    task = task_of(ctx, data.train_tasks, step)
    part = data.tasks[task]
    index = ctx.rng("batch", step).choice(len(part.episodes), settings.batch_size, replace=False)
    torch.manual_seed(ctx.derive_seed("update", step))
    metrics = learner.update(make_batch(part.layout, part.episodes, index, device=device))
    return {"loss": metrics["loss"]} | {f"{task}/{k}": v for k, v in metrics.items()}


def _after_step(
    ctx: "RunContext",
    data: OfflineData,
    settings: OfflineSettings,
    learner: Learner,
    step: int,
) -> None:
    last = step == settings.max_steps
    saved = ctx.should_stop or last or step % settings.save_every == 0
    if saved:
        ctx.save_checkpoint(step, lambda folder: save(learner, step, folder))
    if last or not _scored_after(step, settings, resumed=True):
        return
    try:
        ctx.evaluate(learner.policy(), data, step=step)
    except PreemptedError:
        if not saved:
            ctx.save_checkpoint(step, lambda folder: save(learner, step, folder))
        raise PreemptedError(f"stopped at step {step} of {settings.max_steps}") from None


def _scored_after(step: int, settings: OfflineSettings, *, resumed: bool) -> bool:
    """Whether the policy is scored between this step and the next; a resumed run may have been
    stopped before or in it."""
    if step >= settings.max_steps:
        return False
    if not resumed:
        return settings.evaluate_start
    return settings.evaluate_every > 0 and step % settings.evaluate_every == 0


def load(learner: Learner, file: Path, device: torch.device, *, key: str = "") -> None:
    """Load what `save` wrote. Raises LabError for a file of another kind, method or size."""
    try:
        state = torch.load(file, map_location=device, weights_only=True)
        learner.load_state_dict(state["learner"])
    except (KeyError, TypeError, RuntimeError, ValueError, UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise LabError(
            f"{key}{file}: not a learner of this method and these sizes: {reason}"
        ) from error


def save(learner: Learner, step: int, folder: Path) -> None:
    torch.save({"learner": learner.state_dict(), "step": step}, folder / STATE)


def task_of(ctx: "RunContext", tasks: Sequence[str], step: int) -> str:
    """The task of an optimizer step (from 1): each round takes every task once, in fresh order."""
    turn, place = divmod(step - 1, len(tasks))
    return tasks[int(ctx.rng("tasks", turn).permutation(len(tasks))[place])]


def choose_device(wanted: str, devices: Sequence[str]) -> torch.device:
    """cpu, or the CUDA device that the job holds."""
    if wanted == "auto":
        wanted = "cuda" if devices and torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def _check_sizes(data: OfflineData, batch_size: int) -> None:
    for task, part in data.tasks.items():
        if len(part.episodes) < batch_size:
            raise LabError(
                f"task {task!r} has {len(part.episodes)} episodes, fewer than "
                f"trainer.batch_size={batch_size}"
            )
