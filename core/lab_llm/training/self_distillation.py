"""SDPO (arXiv 2601.20802) on the GRPO trainer: the loss is the distance to a teacher.

The teacher is the same model, its weights frozen, averaged or the student's own, that reads a
correct rollout of the group beside the question.
"""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from labrun.attempts.loading import loading
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.trainer_callback import TrainerCallback
from trl.models.utils import _ForwardRedirection

from lab_llm.problems import Problem
from lab_llm.text.prompts import encode, with_solution
from lab_llm.training.distillation import compare_hidden, distillation_loss, importance_weight
from lab_llm.training.distillation_config import DistillationConfig
from lab_llm.training.teacher import padded
from lab_llm.training.trainer import CreditTrainer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TEACHER_FILE, REMAINDER = "teacher.safetensors", "remainder/"


class SelfDistillationTrainer(CreditTrainer):
    """GRPO's rollouts and updates with SDPO's loss in place of the surrogate."""

    def __init__(self, *, distillation: DistillationConfig, **settings: Any) -> None:
        self.distillation = distillation
        model = settings["policy"].model
        self.teacher_model = None if distillation.teacher == "live" else frozen_copy(model)
        self._redirect = _ForwardRedirection()
        super().__init__(**settings)
        if self.teacher_model is not None:
            self.teacher_model.to(self.accelerator.device)
        self.remainders: dict[str, Tensor] = {}
        if distillation.teacher == "ema":
            assert self.teacher_model is not None
            self.remainders = remainders_of(self.teacher_model)
            self.add_callback(AverageCallback(self))
        if self.ctx.resume_from is not None:
            with loading(self.ctx.resume_from / TEACHER_FILE):
                self._load_own(self.ctx.resume_from)

    # What the teacher reads ---------------------------------------------------------------------

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        start = self.accelerator.process_index * len(inputs)
        contexts = [self._context(inputs, row, start) for row in range(len(inputs))]
        given = [context is not None for context in contexts]
        prompts = [
            self._prompt(inputs, row, context) if context is not None else [self._pad]
            for row, context in enumerate(contexts)
        ]
        self._check_length(prompts)
        nothing: Sequence[Sequence[int]] = [[] for _ in prompts]
        device = self.accelerator.device
        ids, mask = padded(prompts, nothing, self._pad, device)
        has_context = torch.tensor(given, dtype=torch.float32, device=device)
        tokens = (output["completion_mask"].sum(1) * has_context).sum()
        output["teacher_prompt_ids"], output["teacher_prompt_mask"] = ids, mask
        output["has_context"] = has_context
        output["num_distilled"] = self.accelerator.reduce(tokens, reduction="sum")
        self.step_metrics["teacher_context_fraction"].append(sum(given) / len(given))
        return output

    def _context(self, inputs: Sequence[dict[str, Any]], row: int, start: int) -> str | None:
        """The solution that the teacher of this rollout is shown; None: there is none."""
        problem = self.sets.train[inputs[row]["index"]]
        wanted = self.credit.context
        if wanted == "sibling":
            found = self._group().correct_sibling(
                start + row,
                self._group_rng,
                allow_itself=not self.distillation.dont_reprompt_on_self_success,
            )
        else:
            solution = problem.solution if wanted == "reference_solution" else None
            found = problem.answer if solution is None else solution
            wanted = "answer" if solution is None else wanted
        if found is None:
            return None
        self.step_metrics[f"teacher_context/{wanted}"].append(1.0)
        return self._shortened(self._abridged(problem, found))

    def _abridged(self, problem: Problem, solution: str) -> str:
        """What of the solution `richness` leaves."""
        forms, richness = self.sets.forms, self.distillation.richness
        if richness == "answer":
            return forms.answer(problem, solution)
        left = forms.without_thinking(problem, solution) if richness != "solution" else solution
        if left is None:
            self.step_metrics["teacher_context/unmarked"].append(1.0)
        return solution if left is None else left

    def _shortened(self, solution: str) -> str:
        """Its first `max_context_length` tokens."""
        limit = self.distillation.max_context_length
        if limit is None:
            return solution
        tokenizer: Any = self.policy.tokenizer
        ids = tokenizer(solution, add_special_tokens=False)["input_ids"]
        if len(ids) <= limit:
            return solution
        self.step_metrics["teacher_context/truncated"].append(1.0)
        return str(tokenizer.decode(ids[:limit]))

    def _prompt(self, inputs: Sequence[dict[str, Any]], row: int, solution: str) -> list[int]:
        problem = self.sets.train[inputs[row]["index"]]
        messages = with_solution(problem.prompt, solution, self.credit.template)
        return encode(self.policy.tokenizer, messages)

    # The loss -----------------------------------------------------------------------------------

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        inner: Any = self.accelerator.unwrap_model(model)
        return self._redirect(model, inner, self._distil, inner, inputs)

    def _distil(self, student: "PreTrainedModel", inputs: dict[str, Any]) -> Tensor:
        """This micro-batch's share of the step's loss; runs inside the model's own forward."""
        config, teacher = self.distillation, self.teacher_model
        mask, tokens = inputs["completion_mask"], inputs["completion_ids"]
        rows = mask.bool()
        mine = self._hidden(student, inputs["prompt_ids"], inputs["prompt_mask"], tokens, mask)
        with torch.no_grad():
            teaching = student if teacher is None else teacher
            theirs = self._hidden(
                teaching,
                inputs["teacher_prompt_ids"],
                inputs["teacher_prompt_mask"],
                tokens,
                mask,
            )
        found = compare_hidden(
            mine[rows],
            theirs[rows],
            tokens[rows],
            heads=(_head(student), _head(teaching)),
            temperature=self.settings.temperature,
            alpha=config.alpha,
            top_k=config.top_k,
            tail=config.tail,
            chunk_size=config.chunk_size,
        )
        divergences, logprobs = (_placed(x, rows) for x in (found.divergences, found.logprobs))
        old = self._old_logprobs(inputs, logprobs)
        weight = importance_weight(logprobs, old, clip=config.ratio_clip)
        parts = self.accelerator.num_processes * self._num_parts
        sums = torch.stack([found.entropies.sum(), rows.sum()])
        entropy, count = self.accelerator.reduce(sums, reduction="sum")
        self._metrics["train"]["entropy"].append((entropy / count).item())
        return distillation_loss(
            divergences,
            weight,
            mask.float(),
            inputs["has_context"],
            # The trainer adds the parts of a step up and averages over processes.
            num_tokens=inputs["num_distilled"] * self.current_gradient_accumulation_steps / parts,
        )

    def _hidden(
        self, model: Any, prompt: Tensor, prompt_mask: Tensor, completion: Tensor, mask: Tensor
    ) -> Tensor:
        """Last hidden states (b, T, H) that predict the completion's tokens."""
        ids, real = torch.cat([prompt, completion], 1), torch.cat([prompt_mask, mask], 1)
        with self.accelerator.autocast():
            states = model.base_model(input_ids=ids, attention_mask=real, use_cache=False)
        return states.last_hidden_state[:, prompt.shape[1] - 1 : -1]

    def _old_logprobs(self, inputs: dict[str, Any], logprobs: Tensor) -> Tensor:
        """log p_old of the tokens: this pass's own while a step's rollouts make one update."""
        old = inputs.get("old_per_token_logps")
        return logprobs if old is None else old

    # The averaged teacher -----------------------------------------------------------------------

    def _save_own(self, folder: Path) -> None:
        if self.distillation.teacher == "ema" and self.args.should_save:
            assert self.teacher_model is not None
            weights = {name: p.cpu() for name, p in self.teacher_model.named_parameters()}
            rests = {REMAINDER + name: rest.cpu() for name, rest in self.remainders.items()}
            save_file(weights | rests, folder / TEACHER_FILE)

    @torch.no_grad()
    def _load_own(self, folder: Path) -> None:
        if self.distillation.teacher == "ema":
            assert self.teacher_model is not None
            saved = load_file(folder / TEACHER_FILE)
            for name, parameter in self.teacher_model.named_parameters():
                parameter.copy_(saved[name])
            for name, rest in self.remainders.items():
                rest.copy_(saved[REMAINDER + name])


class AverageCallback(TrainerCallback):
    """Moves the teacher towards the student after every optimizer step."""

    def __init__(self, trainer: SelfDistillationTrainer) -> None:
        self._trainer = trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        trainer = self._trainer
        assert trainer.teacher_model is not None
        with trainer._whole_weights():
            average(
                trainer.teacher_model,
                trainer._plain_model,
                trainer.remainders,
                rate=trainer.distillation.ema_rate,
            )
        return control


@torch.no_grad()
def average(
    teacher: torch.nn.Module,
    student: torch.nn.Module,
    remainders: Mapping[str, Tensor],
    *,
    rate: float,
) -> None:
    """teacher <- (1 - rate) teacher + rate student, parameter by parameter, in place.

    A step is far less than bfloat16 tells apart: `remainders` (see `remainders_of`) keep what the
    teacher's own precision cannot hold.
    """
    pairs = zip(teacher.named_parameters(), student.parameters(), strict=True)
    for (name, mean), now in pairs:
        rest = remainders.get(name)
        whole = mean if rest is None else mean.float() + rest.float()
        whole.lerp_(now.to(whole.dtype), rate)
        if rest is not None:
            mean.copy_(whole)
            rest.copy_(whole - mean.float())


def remainders_of(teacher: torch.nn.Module) -> dict[str, Tensor]:
    """Name -> zeros for every parameter in less than float32; the average is the sum of both."""
    parameters = teacher.named_parameters()
    return {name: torch.zeros_like(p) for name, p in parameters if p.dtype.itemsize < 4}


def frozen_copy(model: "PreTrainedModel") -> "PreTrainedModel":
    """The same weights in a model of its own, in evaluation mode, that takes no gradient."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def _head(model: Any) -> Any:
    return model.get_output_embeddings()


def _placed(values: Tensor, rows: Tensor) -> Tensor:
    """(N,) values at the true places of rows (b, T), 0 elsewhere."""
    return torch.zeros(rows.shape, dtype=values.dtype, device=values.device).masked_scatter(
        rows, values
    )
