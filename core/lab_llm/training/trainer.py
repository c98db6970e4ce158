"""TRL's GRPOTrainer whose loss is an objective's, with exact resume and metrics for the run."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from transformers.trainer_callback import TrainerCallback
from trl.models.utils import prepare_deepspeed
from trl.trainer.grpo_trainer import GRPOTrainer

from lab_llm.distributed import ranks
from lab_llm.policy.beats import beat_at_passes
from lab_llm.policy.policy import Policy
from lab_llm.problems import Problem, ProblemSets
from lab_llm.training.advantages import group_advantages, in_uniform_group, rows_to_score
from lab_llm.training.config import GRPOSettings
from lab_llm.training.engines import ENGINES
from lab_llm.training.forward import ModelForward
from lab_llm.training.microbatches import minibatches
from lab_llm.training.objective import Objective
from lab_llm.training.offloading import offload
from lab_llm.training.rewards import Rewards
from lab_llm.training.rollouts import Rollouts, from_trl, unended, without
from lab_llm.training.run_trainer import RunTrainer
from lab_llm.training.step_metrics import StepMetrics
from lab_llm.training.teacher import GradedRollouts, Teacher, TeacherPrompts
from lab_llm.training.teacher_scoring import TeacherScoring
from lab_llm.training.zero import zero_stage

if TYPE_CHECKING:
    from labrun.runs.context import RunContext


class PolicyTrainer(RunTrainer, GRPOTrainer):
    """TRL samples and steps; `objective` says which advantages the tokens have and what the loss
    is."""

    objective: Objective  # pyrefly: ignore[bad-override]
    """What is minimised. transformers' trainer has a number of that name, for its search over
    hyperparameters alone."""
    _noted_truncated = False

    def __init__(
        self,
        *,
        ctx: "RunContext",
        policy: Policy,
        sets: ProblemSets,
        settings: GRPOSettings,
        objective: Objective,
        words: Sequence[str],
        **trl: Any,
    ) -> None:
        self.ctx, self.policy = ctx, policy
        self.settings = settings
        self.objective = objective
        self.metrics = StepMetrics()
        self.rewards = Rewards(policy, sets, words=words, metrics=self.metrics)
        self.engine = ENGINES[settings.sampler](self, settings)
        self.scoring = TeacherScoring(self, settings, self.engine)
        self.graded = GradedRollouts((), (), settings.num_generations)
        self._spread_models: list[Any] = []
        objective.begin(policy.model)
        super().__init__(
            model=policy.model,
            processing_class=policy.tokenizer,
            reward_funcs=self.rewards.grade,
            rollout_func=self.engine.rollout_function,
            **trl,
        )
        objective.place(self._placed)
        beat_at_passes(policy.model, ctx.heartbeat)
        self.engine.begin()
        self.add_callback(AfterStep(self))
        if ctx.resume_from is not None:
            objective.load(ctx.resume_from)

    @property
    def plain_model(self) -> Any:
        """The policy's model without what trains it; under ZeRO-3 the ranks share its weights."""
        return self.accelerator.unwrap_model(self.model)

    def _placed(self, model: Any, *, is_offloaded: bool) -> Any:
        """A model that is not trained, where the policy is; under ZeRO-3 spread as that is."""
        if is_offloaded:
            return offload(model, self.accelerator.device)
        if zero_stage(self.settings) < 3:
            return model.to(self.accelerator.device)
        # an engine that is collected takes its model's hooks away
        self._spread_models.append(prepare_deepspeed(model, self.accelerator))
        return self._spread_models[-1].module

    @property
    def _num_parts(self) -> int:
        """Micro-batches that one batch of rollouts makes on this process."""
        args: Any = self.args
        return args.steps_per_generation

    @property
    def steps_per_batch(self) -> int:
        args: Any = self.args
        return args.steps_per_generation // args.gradient_accumulation_steps

    @contextmanager
    def whole_model(self) -> Iterator[Any]:
        """The policy's model, all of its weights on this rank."""
        assert self.model is not None
        with ranks.whole_weights(self.model, self.optimizer):
            yield self.plain_model

    def with_engine(self, policy: Policy) -> Policy:
        """The policy, with the engine of its rollouts where that can sample evaluations too."""
        return self.engine.holding(policy)

    def rest_engine(self) -> None:
        """Give back what the rollouts' engine held for an evaluation."""
        self.engine.rest()

    # Rollouts -----------------------------------------------------------------------------------

    def _calculate_rewards(self, *inputs: Any) -> Tensor:
        """TRL calls this while it makes a batch; `rollouts` reads what is kept here."""
        rewards = super()._calculate_rewards(*inputs)
        texts = [text for of_rank in ranks.gather_objects(self.rewards.texts) for text in of_rank]
        self.graded = replace(self.graded, texts=texts, rewards=rewards[:, 0].tolist())
        return rewards

    def rollouts(self, inputs: list[dict[str, Any]]) -> Rollouts:
        """One batch of rollouts of this process, with the objective's advantages."""
        self.ctx.progress(step=self.state.global_step, stage="sample")
        output: Any = self._generate_and_score_completions(inputs)
        device, size = self.accelerator.device, len(inputs)
        start = self.accelerator.process_index * size
        rewards = torch.tensor(self.graded.rewards, device=device)
        group_size, scale = self.graded.group_size, self.settings.scale_rewards
        uniform = in_uniform_group(rewards, group_size=group_size)
        self.metrics.add("uniform_group_fraction", uniform.float().mean().item())
        advantages = group_advantages(rewards, group_size=group_size, scale=scale)
        mine = slice(start, start + size)
        batch = from_trl(output, rewards=rewards[mine], advantages=advantages[mine])
        rollouts = self._without_truncated(batch)
        # of the step alone, so that a resumed run has the same
        rollouts = replace(rollouts, batches_before=self.state.global_step // self.steps_per_batch)
        self.ctx.progress(stage="teacher" if self.objective.teacher else "update")
        problems = [self.rewards.sets.train[row["index"]] for row in inputs]
        with self.metrics.timed("teacher"):
            rollouts = self._read_by_teacher(rollouts, problems, start)
        self.ctx.progress(stage="update")
        rollouts = self.objective.annotate(rollouts)
        for name, value in self.objective.measure(rollouts).items():
            self.metrics.add(name, value)
        return rollouts

    def _without_truncated(self, rollouts: Rollouts) -> Rollouts:
        """With `mask_truncated`, rollouts without an end token are left out of the loss.

        The run has a note where no other is left.
        """
        if not self.settings.mask_truncated:
            return rollouts
        masked = without(rollouts, unended(rollouts, self.eos_token_ids))
        num_tokens: Any = self.accelerator.reduce(masked.num_tokens, reduction="sum")
        if not num_tokens and not self._noted_truncated:
            step, self._noted_truncated = self.state.global_step + 1, True
            self.ctx.note(
                f"step {step}: every rollout was truncated, and trainer.mask_truncated leaves "
                "nothing to learn from; raise trainer.max_completion_length"
            )
        return replace(masked, num_tokens=num_tokens)

    def _read_by_teacher(
        self, rollouts: Rollouts, problems: Sequence[Problem], start: int
    ) -> Rollouts:
        """The rollouts with what the objective's teacher says of them."""
        teacher = self.objective.teacher
        if teacher is None:
            self.metrics.add("teacher_scored_fraction", 0.0)
            return rollouts
        prompts = self._teacher_prompts(teacher, rollouts, problems, start)
        share = sum(prompt is not None for prompt in prompts) / len(prompts)
        if teacher.gives == "logprobs":
            self.metrics.add("teacher_scored_fraction", share)
            return self.scoring.scored(rollouts, prompts, self.objective.teacher_weights)
        self.metrics.add("teacher_scored_fraction", 0.0)
        self.metrics.add("teacher_context_fraction", share)
        return self.scoring.sequences(rollouts, prompts)

    def _teacher_prompts(
        self, teacher: Teacher, rollouts: Rollouts, problems: Sequence[Problem], start: int
    ) -> list[list[int] | None]:
        """What the teacher reads before each rollout; None where it does not read it."""
        chosen = rows_to_score(rollouts.rewards, rollouts.rollout_advantages, teacher.scored)
        prompts = self.teacher_prompts(teacher)
        return [
            prompts.of(problem, start + row) if is_chosen else None
            for row, (problem, is_chosen) in enumerate(zip(problems, chosen.tolist(), strict=True))
        ]

    def teacher_prompts(self, teacher: Teacher) -> TeacherPrompts:
        """The prompts for the batch of rollouts that was graded last."""

        def seed(number: int) -> np.random.Generator:
            return self.ctx.rng("teacher", self.state.global_step, number)

        return TeacherPrompts(
            teacher=teacher,
            tokenizer=self.policy.tokenizer,
            forms=self.rewards.sets.forms,
            graded=self.graded,
            seed=seed,
            count=self.metrics.count_context,
        )

    # Update -------------------------------------------------------------------------------------

    def _prepare_inputs(self, inputs: Any) -> Any:
        """A micro-batch of `Rollouts`, of like length: little is computed for padding.

        TRL shuffles; so do we where a batch of rollouts makes several optimizer steps. Within a
        step the order is of no account.
        """
        num_parts = self._num_parts
        if self._step % num_parts == 0:
            seed = self.ctx.derive_seed("minibatch", self.state.global_step)
            steps = self.settings.num_minibatches
            self._micro_batches = minibatches(self.rollouts(inputs), steps, num_parts, seed=seed)
        return self._micro_batches[self._step % num_parts]

    def _compute_loss(self, model: Any, inputs: Any) -> Tensor:
        """The objective's loss of a micro-batch, in place of TRL's."""
        forward = ModelForward(self, model, self.metrics)
        return forward.with_router(self.objective.loss(forward, inputs))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Send one step's metrics to the run, under our names."""
        del start_time
        trl = self._metrics["train"]
        if "loss" in logs:
            found = self.metrics.take(logs, trl, seconds=self.take_train_seconds())
            self.check_gradient(found.get("grad_norm", 0.0))
            self.ctx.log(self.state.global_step, found)
            self.ctx.progress(step=self.state.global_step, total=self.args.max_steps)
            self._logs["prompt"].clear()
        trl.clear()

    def _save_own(self, folder: Path) -> None:
        self.objective.save(folder)


class AfterStep(TrainerCallback):
    """Tells the objective that an optimizer step, or a batch of rollouts, is done."""

    def __init__(self, trainer: PolicyTrainer) -> None:
        self._trainer = trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        trainer = self._trainer
        trainer.objective.after_step(trainer.plain_model)
        num_batches, within = divmod(state.global_step, trainer.steps_per_batch)
        if within == 0:
            trainer.objective.after_batch(trainer.plain_model, num_batches=num_batches)
        return control
