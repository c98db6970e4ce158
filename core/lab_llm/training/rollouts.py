"""One batch of rollouts as named tensors.

Shapes: B rollouts; L tokens of a whole sequence; T, its last positions, in which the policy's own
tokens lie. What stands before them is a prompt, padded left; the T positions are padded right. They
may hold tokens of others too, such as a tool's result: `loss_mask` says which are the policy's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor


@dataclass(frozen=True)
class TeacherSequences:
    """The rollouts as a teacher reads them: the same last T tokens after its own prompts."""

    ids: Int[Tensor, "B L"]
    attention_mask: Int[Tensor, "B L"]
    has_context: Float[Tensor, " B"]
    """1 where the teacher was shown a solution, else 0."""
    num_tokens: Num[Tensor, ""]
    """The policy's tokens of the batch's rollouts with a context, over all processes."""

    def part(self, rows: Int[Tensor, " n"], *, width: int, kept: int) -> "TeacherSequences":
        """These rollouts with the first `kept` of their last `width` positions."""
        return replace(
            self,
            ids=_columns(self.ids, self.attention_mask, rows, width=width, kept=kept),
            attention_mask=_columns(
                self.attention_mask, self.attention_mask, rows, width=width, kept=kept
            ),
            has_context=self.has_context[rows],
        )


@dataclass(frozen=True)
class Rollouts:
    """B rollouts of one process, or a micro-batch of them."""

    ids: Int[Tensor, "B L"]
    attention_mask: Int[Tensor, "B L"]
    """1 at tokens, 0 at padding."""
    loss_mask: Float[Tensor, "B T"]
    """1 at the policy's own tokens, 0 at padding and at what others wrote."""
    rewards: Float[Tensor, "B *turns"]
    """Of the whole rollout (B,), or of each of its turns (B, turns)."""
    rollout_advantages: Float[Tensor, " B"]
    """A, relative to the rollout's group; exactly 0 where the group's rewards are equal."""
    advantages: Float[Tensor, "B T"]
    """A_t of each token, 0 outside the loss mask: A until `Objective.annotate` says otherwise."""
    num_tokens: Num[Tensor, ""]
    """The policy's tokens of the whole batch, over all processes."""
    sampled_logprobs: Float[Tensor, "B T"] | None = None
    """log p of the tokens as the engine that sampled them recorded it."""
    old_logprobs: Float[Tensor, "B T"] | None = None
    """log p_old by the trainer's own pass before the first update; None: p_old is p itself."""
    reference_logprobs: Float[Tensor, "B T"] | None = None
    """log p of the model at the start; only where the loss has a KL term."""
    student_logprobs: Float[Tensor, "B T"] | None = None
    """log P_S, the policy's, by what also gives `teacher_logprobs`."""
    teacher_logprobs: Float[Tensor, "B T"] | None = None
    """log P_T; the student's in rollouts that the teacher does not score."""
    importance_weight: Float[Tensor, "B #T"] | None = None
    """p_old / p of vLLM, clipped, of each token or of the whole rollout (B, 1)."""
    teacher: TeacherSequences | None = None
    """What a teacher reads whose distribution the loss itself computes."""
    batches_before: int = 0
    """Batches of rollouts before this one in the run (count): what a schedule counts."""

    @property
    def lengths(self) -> Int[Tensor, " B"]:
        """Tokens of each rollout after its prompt."""
        return self.attention_mask[:, -self.width :].sum(1)

    @property
    def width(self) -> int:
        """T."""
        return self.loss_mask.shape[1]

    def part(self, rows: Int[Tensor, " n"]) -> "Rollouts":
        """These rollouts, without the columns that are padding in all of them."""
        rows = rows.to(self.ids.device)
        kept, width = int(self.lengths[rows].max()), self.width

        def sequences(values: Tensor) -> Tensor:
            return _columns(values, self.attention_mask, rows, width=width, kept=kept)

        def part_of(values: Tensor) -> Tensor:
            return values[rows][:, :kept] if values.dim() == 2 else values[rows]

        others = ("ids", "attention_mask", "rewards", "num_tokens")
        parts = {
            name: part_of(values)
            for name, values in vars(self).items()
            if name not in others and isinstance(values, Tensor)
        }
        teacher = self.teacher
        return replace(
            self,
            ids=sequences(self.ids),
            attention_mask=sequences(self.attention_mask),
            rewards=self.rewards[rows],
            teacher=None if teacher is None else teacher.part(rows, width=width, kept=kept),
            **parts,
        )


def without(rollouts: Rollouts, rows: Bool[Tensor, " B"]) -> Rollouts:
    """The rollouts with these masked: their tokens are read, and have no part in the loss.

    `num_tokens` is then that of this process alone.
    """
    kept = (~rows).to(rollouts.loss_mask.dtype)[:, None]
    mask = rollouts.loss_mask * kept
    return replace(
        rollouts, loss_mask=mask, advantages=rollouts.advantages * kept, num_tokens=mask.sum()
    )


def unended(rollouts: Rollouts, end_tokens: Sequence[int]) -> Bool[Tensor, " B"]:
    """Where a rollout's last token is none of these."""
    last = rollouts.ids.shape[1] - rollouts.width + rollouts.lengths - 1
    tokens = rollouts.ids.gather(1, last[:, None])[:, 0]
    return ~torch.isin(tokens, torch.tensor(end_tokens, device=tokens.device))


def _columns(
    values: Tensor, attention_mask: Tensor, rows: Tensor, *, width: int, kept: int
) -> Tensor:
    """Rows of (B, L) values, from the first token of the longest prompt among them on."""
    end = values.shape[1] - width
    longest_prompt = int(attention_mask[rows][:, :end].sum(1).max())
    return values[rows][:, end - longest_prompt : end + kept]


def from_trl(
    output: Mapping[str, Tensor],
    *,
    rewards: Float[Tensor, " B"],
    advantages: Float[Tensor, " B"],
) -> Rollouts:
    """The rollouts out of what TRL's trainer makes of a batch of prompts.

    `advantages` are A; TRL's own are left aside.
    """
    prompt_mask, completion_mask = output["prompt_mask"], output["completion_mask"]
    own = completion_mask * output["tool_mask"] if "tool_mask" in output else completion_mask
    loss_mask = own.float()
    return Rollouts(
        ids=torch.cat([output["prompt_ids"], output["completion_ids"]], 1),
        attention_mask=torch.cat([prompt_mask, completion_mask], 1),
        loss_mask=loss_mask,
        rewards=rewards,
        rollout_advantages=advantages,
        advantages=advantages[:, None] * loss_mask,
        num_tokens=output["num_items_in_batch"],
        sampled_logprobs=output.get("sampling_per_token_logps"),
        old_logprobs=output.get("old_per_token_logps"),
        reference_logprobs=output.get("ref_per_token_logps"),
        importance_weight=output.get("importance_sampling_ratio"),
    )
