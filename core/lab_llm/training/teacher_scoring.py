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
from lab_llm.policy.head import logits_head
from lab_llm.training.config import GRPOSettings
from lab_llm.training.engines import RolloutEngine
from lab_llm.training.rollouts import Rollouts, TeacherSequences
from lab_llm.training.sequences import Ids, padded, score
from lab_llm.training.teacher import SHOW_LESS
from lab_llm.training.teacher_weights import TeacherWeights

HEAD_TOKENS = 2048
"""Tokens whose logits are in memory at once."""


class TeacherScoring:
    """What the teacher says of rollouts, by the engine that also samples.

    `prompts` holds for each rollout the teacher's prompt, or None where it does not read it.
    """

    def __init__(self, trainer: GRPOTrainer, settings: GRPOSettings, engine: RolloutEngine) -> None:
        self._trainer, self._settings, self._engine = trainer, settings, engine

    def scored(
        self,
        rollouts: Rollouts,
        prompts: Sequence[list[int] | None],
        weights: TeacherWeights | None,
    ) -> Rollouts:
        """The rollouts with the student's and the teacher's log-probabilities.

        `weights`: the teacher's own; None: the policy's. Where the teacher does not read, its
        log-probabilities are the student's.
        """
        rows = [row for row, prompt in enumerate(prompts) if prompt is not None]
        read = [prompt for prompt in prompts if prompt is not None]
        self._check_length(read)
        student = self._engine.student_logprobs(rollouts)
        tokens, lengths = rollouts.ids[:, -rollouts.width :], rollouts.lengths.tolist()
        completions = [tokens[row, : lengths[row]].tolist() for row in rows]
        teacher = student.clone()
        teacher[rows] = self._score(weights, read, completions, rollouts.width)
        return replace(rollouts, student_logprobs=student, teacher_logprobs=teacher)

    def _score(
        self, weights: TeacherWeights | None, prompts: Ids, completions: Ids, width: int
    ) -> Tensor:
        """Log-probabilities (n, width) of the completions by the teacher.

        The engine has the policy's weights only.
        """
        if weights is None:
            return self._engine.score(prompts, completions, width)
        model = weights.model
        trainer: Any = self._trainer
        temperature, device = self._settings.temperature, trainer.accelerator.device

        def passed(ids: Tensor, mask: Tensor, width: int) -> Tensor:
            trainer.ctx.heartbeat()
            with torch.no_grad(), trainer.accelerator.autocast():
                return token_logprobs(model, ids, mask, width, temperature=temperature)

        return score(
            passed,
            prompts,
            completions,
            width=width,
            batch_size=trainer.args.per_device_train_batch_size,
            pad_token_id=self._pad,
            num_batches=self._engine.most_batches(len(prompts)),
            device=device,
        )

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
                f"lower trainer.max_completion_length, or {SHOW_LESS}"
            )


def token_logprobs(
    model: Any, ids: Tensor, mask: Tensor, width: int, *, temperature: float
) -> Float[Tensor, "B width"]:
    """log p of the last `width` tokens, logits divided by `temperature`.

    Of a model whose weights the ranks share, every rank calls the head as often.
    """
    seen = model.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
    hidden, tokens = seen.last_hidden_state[:, -width - 1 : -1], ids[:, -width:]
    head = logits_head(model)
    parts = hidden.flatten(0, 1).split(HEAD_TOKENS), tokens.flatten().split(HEAD_TOKENS)
    num_calls = len(parts[0])
    most_calls = ranks.largest(num_calls) if ranks.shares_weights(model) else num_calls
    found = [
        (head(part).float() / temperature).log_softmax(-1).gather(1, sampled[:, None])[:, 0]
        for part, sampled in zip(*parts, strict=True)
    ]
    for _ in range(most_calls - num_calls):
        head(hidden[:1, 0])
    return torch.cat(found).view(tokens.shape)
