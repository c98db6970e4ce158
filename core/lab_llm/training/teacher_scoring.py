"""What a teacher adds to the rollouts: log-probabilities of their tokens, or what it reads."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from labrun.errors import LabError
from torch import Tensor
from trl.trainer.grpo_trainer import GRPOTrainer

from lab_llm.distributed import ranks
from lab_llm.sampling.scorer import completion_logprobs
from lab_llm.training.config import GRPOSettings
from lab_llm.training.rollouts import Rollouts, TeacherSequences
from lab_llm.training.sequences import Ids, padded, score


class TeacherScoring:
    """The teacher's forward passes, by the engine that also samples.

    `prompts` holds for each rollout the teacher's prompt, or None where it does not read it.
    """

    def __init__(self, trainer: GRPOTrainer, settings: GRPOSettings) -> None:
        self._trainer, self._settings = trainer, settings

    def scored(self, rollouts: Rollouts, prompts: Sequence[list[int] | None]) -> Rollouts:
        """The rollouts with the student's and the teacher's log-probabilities.

        Where the teacher does not read, its log-probabilities are the student's.
        """
        rows = [row for row, prompt in enumerate(prompts) if prompt is not None]
        read = [prompt for prompt in prompts if prompt is not None]
        self._check_length(read)
        student = self.student_logprobs(rollouts)
        tokens, lengths = rollouts.ids[:, -rollouts.width :], rollouts.lengths.tolist()
        completions = [tokens[row, : lengths[row]].tolist() for row in rows]
        teacher = student.clone()
        teacher[rows] = self.score(read, completions, rollouts.width)
        return replace(rollouts, student_logprobs=student, teacher_logprobs=teacher)

    def sequences(self, rollouts: Rollouts, prompts: Sequence[list[int] | None]) -> Rollouts:
        """The rollouts with what the teacher reads."""
        pad, device = self._pad, rollouts.ids.device
        read = [[pad] if prompt is None else prompt for prompt in prompts]
        self._check_length(read)
        ids, mask = padded(read, [[] for _ in read], pad, device)
        has_context = torch.tensor(
            [prompt is not None for prompt in prompts], dtype=torch.float32, device=device
        )
        width = rollouts.width
        tokens = (rollouts.loss_mask.sum(1) * has_context).sum()
        sequences = TeacherSequences(
            ids=torch.cat([ids, rollouts.ids[:, -width:]], 1),
            attention_mask=torch.cat([mask, rollouts.attention_mask[:, -width:]], 1),
            has_context=has_context,
            num_tokens=self._reduced(tokens),
        )
        return replace(rollouts, teacher=sequences)

    def student_logprobs(self, rollouts: Rollouts) -> Float[Tensor, "B T"]:
        """log P_S by what also gives log P_T, so that they are equal where the solution changes
        nothing: the decoder as it sampled, else the trainer's own forward pass."""
        if self._settings.sampler == "cpu":
            assert rollouts.sampled_logprobs is not None
            return rollouts.sampled_logprobs
        if rollouts.old_logprobs is not None:
            return rollouts.old_logprobs
        with torch.no_grad():
            return self._pass(rollouts.ids, rollouts.attention_mask, rollouts.width)

    def score(self, prompts: Ids, completions: Ids, width: int) -> Float[Tensor, "n width"]:
        """Log-probabilities of the completions after the teacher's prompts."""
        trainer, batch_size = self._trainer, self._batch_size
        if self._settings.sampler == "cpu":
            assert trainer.model is not None
            with ranks.whole_weights(trainer.model, trainer.optimizer):
                return completion_logprobs(
                    trainer.accelerator.unwrap_model(trainer.model),
                    prompts,
                    completions,
                    width=width,
                    batch_size=batch_size,
                    pad_token_id=self._pad,
                    temperature=self._settings.temperature,
                )
        return score(
            self._pass,
            prompts,
            completions,
            width=width,
            batch_size=batch_size,
            pad_token_id=self._pad,
            num_batches=self._most_batches(len(prompts)),
            device=trainer.accelerator.device,
        )

    def _pass(self, ids: Tensor, mask: Tensor, width: int) -> Tensor:
        trainer = self._trainer
        return trainer._get_per_token_logps_and_entropies(
            trainer.model, ids, mask, width, self._batch_size
        )[0]

    @property
    def _batch_size(self) -> int:
        args: Any = self._trainer.args
        return args.per_device_train_batch_size

    @property
    def _pad(self) -> int:
        pad = self._trainer._tokenizer.pad_token_id
        assert isinstance(pad, int)
        return pad

    def _reduced(self, values: Tensor) -> Tensor:
        reduced: Any = self._trainer.accelerator.reduce(values, reduction="sum")
        return reduced

    def _check_length(self, prompts: Ids) -> None:
        model: Any = self._trainer.accelerator.unwrap_model(self._trainer.model)
        limit = getattr(model.config, "max_position_embeddings", None)
        longest = max(map(len, prompts), default=0) + self._settings.max_completion_length
        if limit is not None and longest > limit:
            raise LabError(
                f"a teacher's context and completion take {longest} tokens, the model {limit}; "
                "lower trainer.max_completion_length or choose trainer.teacher_context=answer"
            )

    def _most_batches(self, num_rows: int) -> int | None:
        """Batches of the rank that has most, so that all ranks run as many."""
        accelerator = self._trainer.accelerator
        if accelerator.num_processes == 1:
            return None
        mine = torch.tensor([-(-num_rows // self._batch_size)])
        counts: Any = accelerator.gather(mine.to(accelerator.device))
        return int(counts.max())
