"""A trainer of transformers' family inside a run: its checkpoints, evaluations and stop."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from labrun.attempts.loading import loading
from labrun.errors import DivergedError, PreemptedError
from labrun.runs import checkpoints
from torch import Tensor
from transformers.trainer import Trainer
from transformers.trainer_callback import TrainerCallback

from lab_llm.distributed import ranks
from lab_llm.distributed.stopping import stop_if_asked
from lab_llm.policy.policy import Policy
from lab_llm.problems import ProblemSets
from lab_llm.training.checkpoint_files import first_unreadable, read_pickled

if TYPE_CHECKING:
    from labrun.runs.context import RunContext


class RunTrainer(Trainer):
    """To be named before one of TRL's trainers among the bases of a class."""

    ctx: "RunContext"
    policy: Policy
    has_begun = False
    """Whether all of a checkpoint is loaded and the first step is next."""
    train_seconds = 0.0
    """Time in forward and backward passes, and what is done for them, since it was last taken."""

    def with_engine(self, policy: Policy) -> Policy:
        """The policy, with the engine that holds its weights where the trainer has one."""
        return policy

    def rest_engine(self) -> None:
        """An evaluation with that engine is over, and training goes on."""

    @property
    def steps_per_batch(self) -> int:
        """Optimizer steps made of one batch of data: between two batches a run can be resumed."""
        return 1

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        loss: Any = super().compute_loss(model, inputs, *args, **kwargs)
        if not torch.isfinite(loss):
            raise DivergedError(f"loss is {loss.item()} at step {self.state.global_step + 1}")
        return loss

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        began = time.perf_counter()
        result = super().training_step(*args, **kwargs)
        self.train_seconds += time.perf_counter() - began
        return result

    def take_train_seconds(self) -> float:
        taken, self.train_seconds = self.train_seconds, 0.0
        return taken

    def check_gradient(self, norm: float) -> None:
        """DivergedError where the norm is NaN or infinite."""
        if not torch.isfinite(torch.tensor(norm)):
            raise DivergedError(f"gradient norm is not finite at step {self.state.global_step}")

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """TRL writes a card at every checkpoint; the run directory says all it would."""

    def train_in_run(self) -> None:
        """Train from the run's checkpoint, or from the start where there is none.

        Raises UnloadableError for a checkpoint that cannot be loaded.
        """
        folder = self.ctx.resume_from
        if folder is None:
            self.train()
            return
        with loading(folder, ended=lambda: self.has_begun, culprit=first_unreadable):
            if self.is_deepspeed_enabled:
                checkpoints.refuse_foreign(folder)  # DeepSpeed unpickles whatever lies there
            (inner,) = folder.glob("checkpoint-*")
            self._check_files(inner)
            self.train(resume_from_checkpoint=str(inner))

    def _check_files(self, folder: Path) -> None:
        """Raise what says that a file lacks without which transformers would go on differently."""
        ranks = self.args.world_size
        random_state = f"rng_state_{self.args.process_index}.pth" if ranks > 1 else "rng_state.pth"
        states = () if self.is_deepspeed_enabled else ("optimizer.pt", "scheduler.pt")
        for name in ("trainer_state.json", random_state, *states):
            if not (folder / name).is_file():
                raise FileNotFoundError(f"{folder / name} is missing")
        read_pickled(
            folder / random_state
        )  # transformers reads it at the next step, if there is one

    def _save_own(self, folder: Path) -> None:
        """Write what else a resume needs; nothing here. All ranks call it, and the first writes."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Let transformers write everything that resume needs into the run's own checkpoint."""
        save = super()._save_checkpoint

        def write(folder: Path) -> None:
            before, self.args.output_dir = self.args.output_dir, str(folder)
            try:
                save(model, trial)
                self._save_own(folder)
            finally:
                self.args.output_dir = before

        self.ctx.save_checkpoint(self.state.global_step, write)


class RunCallback(TrainerCallback):
    """Evaluates and stops at step boundaries, as the run asks; all ranks at the same step.

    A step is scored at the beginning of the next one, when its metrics and its checkpoint are
    written. A resumed run begins with the scores that are still missing.
    """

    def __init__(self, trainer: RunTrainer, sets: ProblemSets | None, every: int) -> None:
        """`every`: steps between two evaluations on `sets`; 0: none."""
        self._ctx, self._trainer, self._sets, self._every = trainer.ctx, trainer, sets, every
        resumed = self._ctx.resume_from
        self._saved = checkpoints.step_of(resumed) if resumed else 0
        """The last step with a checkpoint; a run that stops at step 0 begins again."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        self._saved = state.global_step
        return control

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        if self._between_batches(state.global_step):
            if ranks.any_rank(self._ctx.should_stop):
                self._ctx.should_stop = True
                control.should_save = control.should_training_stop = True
            elif self._scores_within_batch(state.global_step):
                control.should_save = True
        return control

    def on_step_begin(  # pyrefly: ignore[bad-override]  # what transformers gives by name
        self, args: Any, state: Any, control: Any, *, model: Any, optimizer: Any = None, **_: Any
    ) -> Any:
        step = state.global_step
        self._trainer.has_begun = True
        try:
            if self._due(step) and step > 0:
                policy = self._trainer.with_engine(self._trainer.policy)
                with ranks.whole_weights(policy.model, optimizer):
                    self._ctx.evaluate(policy, self._sets, step=step)
                self._trainer.rest_engine()
            if self._between_batches(step):
                stop_if_asked(self._ctx, before=f"step {step + 1}")
        except PreemptedError:
            if self._between_batches(step) and self._saved < step:
                self._trainer._save_checkpoint(model, None)
            raise PreemptedError(f"stopped at step {step} of {args.max_steps}") from None
        return control

    def _due(self, step: int) -> bool:
        return self._every > 0 and step % self._every == 0

    def _between_batches(self, step: int) -> bool:
        return step % self._trainer.steps_per_batch == 0

    def _scores_within_batch(self, step: int) -> bool:
        """Whether a step is scored before the next batch, where a stop could write nothing."""
        return any(self._due(step + i) for i in range(1, self._trainer.steps_per_batch))
