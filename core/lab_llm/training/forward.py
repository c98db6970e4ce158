"""The policy inside TRL's trainer, as an objective's loss sees it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from trl.models.utils import _ForwardRedirection
from trl.trainer.grpo_trainer import GRPOTrainer

from lab_llm.distributed import ranks
from lab_llm.training.objective import TokenPass
from lab_llm.training.rollouts import Rollouts
from lab_llm.training.step_metrics import StepMetrics, mean_over


@dataclass
class ModelForward:
    """`objective.Forward` for one micro-batch. `model` is the wrapped one, which is trained."""

    trainer: GRPOTrainer
    model: Any
    metrics: StepMetrics
    router_loss: Tensor | None = None
    """What a mixture of experts adds for an even load, of the pass that was made."""

    @property
    def num_micro_batches(self) -> int:
        return self.trainer.current_gradient_accumulation_steps

    def token_pass(self, batch: Rollouts) -> TokenPass:
        trainer = self.trainer
        logprobs, entropies, self.router_loss = trainer._get_per_token_logps_and_entropies(
            self.model,
            batch.ids,
            batch.attention_mask,
            batch.width,
            compute_entropy=True,
            compute_aux_loss=trainer.aux_loss_enabled,
        )
        assert entropies is not None
        return TokenPass(logprobs, entropies)

    def inside(self, loss: Callable[[Any], Tensor]) -> Tensor:
        inner = self.trainer.accelerator.unwrap_model(self.model)

        def within(model: Any) -> Tensor:
            with self.trainer.accelerator.autocast():
                return loss(model)

        return _ForwardRedirection()(self.model, inner, within, inner)

    def hidden_states(self, model: Any, ids: Tensor, mask: Tensor, *, width: int) -> Tensor:
        def states(model: Any) -> Tensor:
            found = model.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
            return found.last_hidden_state[:, -width - 1 : -1]

        is_policy = model is self.trainer.accelerator.unwrap_model(self.model)
        if is_policy or not ranks.shares_weights(model):
            return states(model)
        # DeepSpeed counts the passes of a spread model at its outermost module
        return _ForwardRedirection()(model, model, states, model)

    def most_calls(self, num_calls: int) -> int:
        return ranks.largest(num_calls) if ranks.shares_weights(self.model) else num_calls

    def share(self, num_tokens: Tensor) -> Tensor:
        args: Any = self.trainer.args
        of_process = num_tokens.clamp(min=1.0) / self.trainer.accelerator.num_processes
        return of_process * self.num_micro_batches / args.steps_per_generation

    def record(self, values: Mapping[str, Tensor], mask: Tensor) -> None:
        for name, found in values.items():
            self.metrics.add(name, mean_over(found.detach(), mask))

    def with_router(self, loss: Tensor) -> Tensor:
        """The loss plus the router's, where the policy is a mixture of experts."""
        if self.router_loss is None:
            return loss
        weighted = self.trainer.router_aux_loss_coef * self.router_loss
        return loss + weighted / self.num_micro_batches
