"""TRL's GRPOTrainer with token-level credit, exact resume and metrics that go to the run."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from labrun.errors import LabError
from torch import Tensor
from trl.trainer.grpo_trainer import GRPOTrainer

from lab_llm.distributed import ranks
from lab_llm.grading.grades import grade_all
from lab_llm.policy.policy import Policy
from lab_llm.problems import Problem, ProblemSets
from lab_llm.sampling.sampler import sample
from lab_llm.sampling.scorer import completion_logprobs
from lab_llm.text.completion_text import completion_text
from lab_llm.text.epistemic_words import epistemic_count, epistemic_words
from lab_llm.text.prompts import encode, with_solution
from lab_llm.training import teacher
from lab_llm.training.config import GRPOSettings
from lab_llm.training.credit import Credit, in_solved_group, in_uniform_group, rows_to_score
from lab_llm.training.microbatches import minibatches
from lab_llm.training.run_trainer import RunTrainer

if TYPE_CHECKING:
    from labrun.runs.context import RunContext

LOGGED = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "reward": "reward",
    "entropy": "entropy",
    "kl": "kl",
    "completions/mean_length": "completion_length",
    "completions/clipped_ratio": "truncated_fraction",
    "clip_ratio/region_mean": "ratio_clip_fraction",
}
"""TRL's metric -> ours; docs/metrics.md defines each."""


class CreditTrainer(RunTrainer, GRPOTrainer):
    """GRPO whose advantages are per token: `credit` weighs them by what the teacher predicted."""

    def __init__(
        self,
        *,
        ctx: "RunContext",
        policy: Policy,
        sets: ProblemSets,
        settings: GRPOSettings,
        credit: Credit,
        **trl: Any,
    ) -> None:
        self.ctx, self.policy, self.sets = ctx, policy, sets
        self.settings, self.credit = settings, credit
        self.step_metrics: dict[str, list[float]] = defaultdict(list)
        self._graded: tuple[list[str], Tensor] = ([], torch.empty(0))
        self._updating: dict[str, Any] | None = None
        rollouts = self._rollouts if settings.sampler == "cpu" else None
        super().__init__(
            model=policy.model,
            processing_class=policy.tokenizer,
            reward_funcs=self._reward,
            rollout_func=rollouts,  # pyright: ignore[reportArgumentType]
            **trl,
        )

    @property
    def _pad(self) -> int:
        pad = self._tokenizer.pad_token_id
        assert isinstance(pad, int)
        return pad

    @property
    def _plain_model(self) -> Any:
        return self.accelerator.unwrap_model(self.model)

    @property
    def _num_parts(self) -> int:
        """Micro-batches that one batch of rollouts makes on this process."""
        args: Any = self.args
        return args.steps_per_generation

    @property
    def _micro_batch_size(self) -> int:
        """Rollouts of one forward pass."""
        args: Any = self.args
        return args.per_device_train_batch_size

    # Sampling ---------------------------------------------------------------------------------

    def _rollouts(self, prompts: list[Any], _: GRPOTrainer) -> dict[str, Any]:
        """G completions of each run of equal prompts, by the toolkit's decoder."""
        with self._timed("sample"), self._whole_weights():
            runs = [(list(prompt), len(list(same))) for prompt, same in groupby(prompts)]
            sizes = {size for _, size in runs}
            if len(sizes) > 1:
                runs, sizes = [(prompt, 1) for prompt in prompts], {1}
            ids = [encode(self.policy.tokenizer, prompt) for prompt, _ in runs]
            generator = torch.Generator(device=self.accelerator.device)
            rank = self.accelerator.process_index
            generator.manual_seed(self.ctx.derive_seed("rollout", self.state.global_step, rank))
            (size,) = sizes
            found = sample(
                self._plain_model,
                ids,
                num_samples=size,
                max_new_tokens=self.settings.max_completion_length,
                temperature=self.settings.temperature,
                top_p=self.settings.top_p,
                top_k=self.settings.top_k,
                eos_token_ids=self.eos_token_ids,
                pad_token_id=self._pad,
                generator=generator,
            )
        return {
            "prompt_ids": [prompt for prompt in ids for _ in range(size)],
            "completion_ids": found.completion_ids,
            "logprobs": found.logprobs,
        }

    def with_engine(self, policy: Policy) -> Policy:
        """The policy with the vLLM that TRL holds in this process, which then has its weights."""
        if self.settings.sampler != "vllm" or self.settings.vllm_mode != "colocate":
            return policy
        from lab_llm.sampling.vllm_engine import VLLMEngine

        self.vllm_generation.sync_weights()
        self._last_loaded_step = self.state.global_step
        return replace(policy, engine=VLLMEngine(self.vllm_generation.llm))

    @property
    def steps_per_batch(self) -> int:
        args: Any = self.args
        return args.steps_per_generation // args.gradient_accumulation_steps

    def _whole_weights(self) -> AbstractContextManager[None]:
        assert self.model is not None
        return ranks.whole_weights(self.model, self.optimizer)

    def _reward(
        self, completion_ids: list[list[int]], index: list[int], **_: Any
    ) -> list[float | None]:
        """The verifier's reward of every completion; keeps the texts for the teacher.

        The texts are made of the ids: TRL's own lack the thinking where the tokenizer has a
        response template.
        """
        with self._timed("verify"):
            texts = self._completion_texts(completion_ids, index)
            grades = grade_all(self.sets.verify, [self.sets.train[i] for i in index], texts)
        self._texts, rewards = texts, grades.rewards
        self.step_metrics["pass_rate"].append(sum(r == 1.0 for r in rewards) / len(rewards))
        self.step_metrics["grading_timeout_fraction"].append(sum(grades.timed_out) / len(texts))
        words = self.credit.words
        for name, count in (("words", epistemic_words), ("count", epistemic_count)):
            found = sum(count(text, words) for text in texts)
            self.step_metrics[f"epistemic_{name}"].append(found / len(texts))
        return [*rewards]

    def _completion_texts(
        self, completion_ids: Sequence[Sequence[int]], index: Sequence[int]
    ) -> list[str]:
        tokenizer = self.policy.tokenizer
        prompts = {i: encode(tokenizer, self.sets.train[i].prompt) for i in set(index)}
        return [
            completion_text(tokenizer, ids, prompt_ids=prompts[i])
            for ids, i in zip(completion_ids, index, strict=True)
        ]

    def _calculate_rewards(self, *inputs: Any) -> Tensor:
        rewards = super()._calculate_rewards(*inputs)
        texts = [text for of_rank in ranks.gather_objects(self._texts) for text in of_rank]
        self._graded = (texts, rewards[:, 0])
        uniform = in_uniform_group(rewards[:, 0], group_size=self.settings.num_generations)
        self.step_metrics["uniform_group_fraction"].append(uniform.float().mean().item())
        return rewards

    # Credit -----------------------------------------------------------------------------------

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self.ctx.progress(step=self.state.global_step, stage="sample")
        output = super()._generate_and_score_completions(inputs)
        self.ctx.progress(step=self.state.global_step, stage="update")
        mask = output["completion_mask"].float()
        size = len(inputs)
        start = self.accelerator.process_index * size
        rewards = self._graded[1][start : start + size]
        uniform = in_uniform_group(self._graded[1], group_size=self.settings.num_generations)
        # TRL divides what rounding leaves of equal rewards by 1e-4
        advantages = output["advantages"].masked_fill(uniform[start : start + size], 0.0)
        chosen = rows_to_score(rewards, advantages, self.credit.scored)
        if self.credit.context == "sibling":
            solved = in_solved_group(self._graded[1], group_size=self.settings.num_generations)
            chosen &= solved[start : start + size]
        self.step_metrics["teacher_scored_fraction"].append(chosen.float().mean().item())
        with self._timed("teacher"):
            student, scored = self._logprobs_of(output, inputs, chosen, start)
        given = (advantages, student, scored, rewards, mask)
        output["advantages"] = self.credit.weigh(*given)
        for name, value in self.credit.measure(*given).items():
            self.step_metrics[name].append(value)
        return output

    def _logprobs_of(
        self, output: dict[str, Any], inputs: list[dict[str, Any]], chosen: Tensor, start: int
    ) -> tuple[Tensor, Tensor]:
        """(student's, teacher's) log-probabilities (B, T); the teacher's are the student's where
        it does not score."""
        if self.credit.scored == "none":
            nothing = torch.zeros_like(output["completion_mask"], dtype=torch.float32)
            return nothing, nothing
        student = self._student_logprobs(output)
        rows = chosen.nonzero()[:, 0].tolist()
        prompts = self._teacher_prompts(inputs, rows, start)
        lengths = output["completion_mask"].sum(1).tolist()
        completions = [output["completion_ids"][row, : lengths[row]].tolist() for row in rows]
        result = student.clone()
        result[rows] = self._score(prompts, completions, student.shape[1])
        return student, result

    def _score(self, prompts: list[list[int]], completions: list[list[int]], width: int) -> Tensor:
        """Teacher log-probabilities (n, width): by the engine that also samples."""
        if self.settings.sampler == "cpu":
            with self._whole_weights():
                return completion_logprobs(
                    self._plain_model,
                    prompts,
                    completions,
                    width=width,
                    batch_size=self._micro_batch_size,
                    pad_token_id=self._pad,
                    temperature=self.settings.temperature,
                )
        return teacher.score(
            self._score_batch,
            prompts,
            completions,
            width=width,
            batch_size=self._micro_batch_size,
            pad_token_id=self._pad,
            num_batches=self._most_batches(len(prompts)),
            device=self.accelerator.device,
        )

    def _student_logprobs(self, output: dict[str, Any]) -> Tensor:
        """log P_S by what also gives log P_T, so that D_t (eq. 1) is 0 where the solution changes
        nothing: the decoder as it sampled, else the trainer's own forward pass."""
        if self.settings.sampler == "cpu":
            return output["sampling_per_token_logps"]
        if "old_per_token_logps" in output:
            return output["old_per_token_logps"]
        ids = torch.cat([output["prompt_ids"], output["completion_ids"]], 1)
        mask = torch.cat([output["prompt_mask"], output["completion_mask"]], 1)
        with torch.no_grad():
            return self._score_batch(ids, mask, output["completion_ids"].shape[1])

    def _score_batch(self, ids: Tensor, mask: Tensor, width: int) -> Tensor:
        size = self._micro_batch_size
        return self._get_per_token_logps_and_entropies(self.model, ids, mask, width, size)[0]

    def _teacher_prompts(
        self, inputs: Sequence[dict[str, Any]], rows: Sequence[int], start: int
    ) -> list[list[int]]:
        group = self._group()
        prompts: list[list[int]] = []
        encoded: dict[tuple[str, str], list[int]] = {}
        for row in rows:
            problem: Problem = self.sets.train[inputs[row]["index"]]
            text, used = teacher.solution_for(
                problem, self.credit.context, group, start + row, self._group_rng
            )
            self.step_metrics[f"teacher_context/{used}"].append(1.0)
            if (problem.id, text) not in encoded:
                messages = with_solution(problem.prompt, text, self.credit.template)
                encoded[problem.id, text] = encode(self.policy.tokenizer, messages)
            prompts.append(encoded[problem.id, text])
        self._check_length(prompts)
        return prompts

    def _group(self) -> teacher.Group:
        texts, rewards = self._graded
        return teacher.Group(texts, rewards.tolist(), self.settings.num_generations)

    def _group_rng(self, number: int) -> np.random.Generator:
        return self.ctx.rng("teacher", self.state.global_step, number)

    def _check_length(self, prompts: Sequence[Sequence[int]]) -> None:
        limit = getattr(self.policy.model.config, "max_position_embeddings", None)
        longest = max(map(len, prompts), default=0) + self.settings.max_completion_length
        if limit is not None and longest > limit:
            raise LabError(
                f"a teacher's context and completion take {longest} tokens, the model {limit}; "
                "lower trainer.max_completion_length or choose trainer.teacher_context=answer"
            )

    def _most_batches(self, rows: int) -> int | None:
        """Batches of the rank that has most, so that all ranks run as many."""
        if self.accelerator.num_processes == 1:
            return None
        mine = torch.tensor([-(-rows // self._micro_batch_size)])
        counts: Any = self.accelerator.gather(mine.to(self.accelerator.device))
        return int(counts.max())

    # Update, metrics --------------------------------------------------------------------------

    def _prepare_inputs(self, inputs: Any) -> Any:
        """TRL's, with micro-batches of like length: little is computed for padding.

        TRL shuffles; so do we where a batch of rollouts makes several optimizer steps. Within a
        step the order is of no account: the loss types on offer weigh each rollout or token alike
        in whichever part it lies, and `_entropy_coef_of` does so for the entropy bonus.
        """
        num_parts = self._num_parts
        if self._step % num_parts == 0:
            batch = self._generate_and_score_completions(inputs)
            seed = self.ctx.derive_seed("minibatch", self.state.global_step)
            self._buffered_inputs = minibatches(
                batch, self.settings.num_minibatches, num_parts, seed=seed
            )
        part = self._buffered_inputs[self._step % num_parts]
        self.step_metrics["tokens"].append(part["completion_mask"].sum().item())
        return part

    def _entropy_coef_of(self, inputs: dict[str, Any]) -> float:
        """The coefficient that makes TRL's bonus, a mean over the micro-batch's own tokens, this
        part's share of `entropy_coef` times the mean over all tokens of the step."""
        parts = self.accelerator.num_processes * self._num_parts
        tokens_per_part = inputs["num_items_in_batch"] / parts
        share = inputs["completion_mask"].sum() / tokens_per_part
        return self.settings.entropy_coef * share.item()

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Tensor:
        if self.settings.entropy_coef:
            self.entropy_coef = self._entropy_coef_of(inputs)
        self._updating = inputs = dict(inputs)
        return super().compute_loss(model, inputs, *args, **kwargs)

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        """TRL's. Its loss calls this first and reads the advantages afterwards, so that those
        which depend on the policy's entropy are made here, of the entropy of the same pass."""
        found = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        if (
            self.credit.shape is not None
            and self._updating is not None
            and kwargs.get("compute_entropy")
        ):
            advantages, mask = self._updating["advantages"], self._updating["completion_mask"]
            self._updating["advantages"] = self.credit.shape(advantages, found[1]) * mask
        return found

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Send one step's metrics to the run, under our names; TRL's others are dropped."""
        del start_time
        if "loss" not in logs:
            self._metrics["train"].clear()
            return
        tokens = self.step_metrics.pop("tokens")
        merged = {k: _mean(v, tokens) for k, v in self._metrics["train"].items() if v} | logs
        found = {ours: merged[theirs] for theirs, ours in LOGGED.items() if theirs in merged}
        found |= self._own_metrics()
        self._metrics["train"].clear()
        self._logs["prompt"].clear()
        self.check_gradient(found.get("grad_norm", 0.0))
        self.ctx.log(self.state.global_step, found)
        self.ctx.progress(step=self.state.global_step, total=self.args.max_steps)

    def _own_metrics(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, values in ranks.pooled(self.step_metrics).items():
            summed = name.startswith(("time/", "teacher_context/"))
            found[name] = sum(values) if summed else sum(values) / len(values)
        spent = sum(found.get(f"time/{part}", 0.0) for part in ("sample", "verify", "teacher"))
        found["time/step"] = self.take_train_seconds()
        found["time/update"] = found["time/step"] - spent
        self.step_metrics.clear()
        return found

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.step_metrics[f"time/{stage}"].append(time.perf_counter() - began)


def _mean(values: list[float], tokens: list[float]) -> float:
    """The mean of one value a step, or of token means a micro-batch over all tokens."""
    if len(values) == len(tokens):
        return sum(v * n for v, n in zip(values, tokens, strict=True)) / sum(tokens)
    return sum(values) / len(values)
