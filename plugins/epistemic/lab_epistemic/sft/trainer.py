"""The trainer component of study 2: off-policy self-distillation."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab_llm.planning import fine_tuning, least_time
from lab_llm.planning import grpo as grpo_plan
from lab_llm.planning import prompts as prompts_plan
from lab_llm.planning.gpus import missing_precision
from lab_llm.planning.process_memory import PLANNED_PROCESSES
from lab_llm.policy.facts import policy_facts
from lab_llm.policy.location import NotHereError
from lab_llm.policy.policy import Policy, PolicyFiles, known_by_files
from lab_llm.policy.tokenizer_files import load_tokenizer
from lab_llm.problems import ProblemSets, problem_sets
from lab_llm.sampling.engines import KINDS
from lab_llm.text.prompts import encode, most_tokens, with_solution
from lab_llm.training import run as grpo_run
from lab_llm.training.precision import check_precision
from lab_llm.training.trained_policy import keep, load_trained, meet, on_gpu
from lab_llm.training.zero import check_zero_file, missing_deepspeed
from labrun import LabError, Plan, PreemptedError, Setup, TrainResult

from lab_epistemic.sft import file as sft_file
from lab_epistemic.sft.config import (
    SelfSFTConfig,
    engine_settings,
    micro_batch_size,
    optimizer_step,
)

if TYPE_CHECKING:
    from labrun.runs.context import RunContext

    from lab_epistemic.sft.transformers_trainer import ResponseTrainer


class SelfSFTTrainer:
    """Fine-tunes the model at the start on the responses that `config.guidance` names."""

    def __init__(self, config: SelfSFTConfig) -> None:
        self.config = config
        self.template = config.template_for(config.model.name)

    def plan(self, setup: Setup) -> Plan:
        config = self.config
        sets = problem_sets(setup, key="trainer")
        _check_counts(config)
        config.check_template(key="trainer.teacher_template")
        facts: dict[str, object] = {"optimizer_steps": config.max_steps}
        facts |= self._machine_facts(setup)
        sampler = KINDS[config.sampler]
        missing = sampler.missing(key="trainer.sampler", instead="trainer.sampler=cpu")
        missing += missing_deepspeed(config) + missing_precision(config.model)
        policy, here = None, True
        try:
            facts |= policy_facts(config.model)
        except NotHereError as error:
            missing.append(str(error))
            facts["model"] = config.model.name
            here = False
        else:
            sampler.check_model(config.model, key="trainer.sampler")
            policy = known_by_files(config.model)
        if sets is not None:
            facts |= self._check_data(sets, policy, facts.get("context_length"), model_here=here)
        samples = sets is not None and not config.pairs and config.max_steps > 0
        facts |= least_time.fine_tuning_facts(
            setup,
            config,
            num_sampled=config.num_probes * len(sets.train) if sets and samples else 0,
            num_trained=config.max_steps * config.batch_size,
            max_completion_length=config.max_completion_length,
        )
        return Plan(facts, missing, max_processes=None, offers=policy)

    def _machine_facts(self, setup: Setup) -> dict[str, object]:
        """Micro-batches, precision and memory. Raises LabError where keys, DeepSpeed's file,
        processes or a GPU that is here contradict each other."""
        config, processes = self.config, setup.num_processes
        step = optimizer_step(config, processes)
        check_zero_file(config, step, num_processes=processes)
        precision = check_precision(
            config.model,
            master_weights=config.master_weights,
            deepspeed=bool(config.deepspeed),
            learning_rate=config.learning_rate,
        )
        planned = [n for n in PLANNED_PROCESSES if config.batch_size % n == 0]
        memory = fine_tuning.facts(
            config,
            setup,
            micro_batch_sizes={
                n: micro_batch_size(config, n) for n in sorted({processes, *planned})
            },
            max_completion_length=config.max_completion_length,
            max_steps=config.max_steps,
            evaluate_every=config.evaluate_every,
            samples_by=None if config.pairs else engine_settings(config),
        )
        return {"micro_batch_size": step.micro_batch_size} | precision | memory

    def _check_data(
        self, sets: ProblemSets, policy: PolicyFiles | None, limit: Any, *, model_here: bool
    ) -> dict[str, object]:
        """Facts of the sets; LabError where this data cannot make them, or `pairs` is no such."""
        config = self.config
        if policy is not None:
            prompts_plan.check_prompts(policy, sets, template=self.template)
        tokenizer = load_tokenizer(config.model) if model_here else None
        if config.pairs:
            path = Path(config.pairs).expanduser()
            responses = sft_file.read(path)
            sft_file.check(path, responses, sets, tokenizer)
            return {"pairs": str(path), "responses": len(responses) // 2}
        if config.solution_source == "dataset":
            key = "trainer.solution_source=dataset"
            grpo_plan.check_solutions(sets.train, key=key)
        if tokenizer is not None and limit:
            self._check_lengths(sets, tokenizer, limit)
        return {"responses_sampled": f"at most {2 * config.num_probes * len(sets.train):,}"}

    def _check_lengths(self, sets: ProblemSets, tokenizer: Any, limit: int) -> None:
        """LabError where a guided prompt and its response may not fit into the model."""
        config = self.config
        own = config.solution_source == "response"
        room = limit - config.max_completion_length * (2 if own else 1)
        for problem in sets.train:
            shown = "" if own else problem.solution or ""
            chat = with_solution(problem.prompt, shown, self.template)
            if most_tokens(chat) > room and (size := len(encode(tokenizer, chat))) > room:
                raise LabError(
                    f"the guided prompt of {problem.id} has {size} tokens"
                    f"{' before the response it shows' if own else ''}, and the model only {limit} "
                    f"for it and trainer.max_completion_length={config.max_completion_length}"
                    f"{', twice' if own else ''}; lower that, or take another model"
                )

    def fit(self, ctx: "RunContext", data: ProblemSets) -> TrainResult:
        import torch

        config = self.config
        torch.manual_seed(ctx.derive_seed("torch"))
        meet(ctx, config)
        policy = load_trained(config, max_steps=config.max_steps)
        grpo_run.check_evaluators(ctx, policy, data)
        if config.max_steps == 0:
            return TrainResult(on_gpu(policy), 0)
        if ctx.resume_from is None and config.evaluate_start:
            ctx.evaluate(on_gpu(policy), data, step=0)
        trainer = self._trainer(ctx, policy, data)
        ctx.progress(total=config.max_steps, stage="update")
        trainer.train_in_run()
        step = trainer.state.global_step
        if step < config.max_steps:
            raise PreemptedError(f"stopped at step {step} of {config.max_steps}")
        target = ctx.run.artifacts / "model"
        kept = keep(trainer, policy, target, model=config.model, template=self.template)
        kept.model.eval()
        return TrainResult(kept, step)

    def _trainer(self, ctx: "RunContext", policy: Policy, data: ProblemSets) -> "ResponseTrainer":
        """The trainer on the responses, which are sampled first."""
        from lab_epistemic.sft import pairs as sft_pairs
        from lab_epistemic.sft.transformers_trainer import build_trainer

        config = self.config
        found = sft_pairs.of_run(ctx, on_gpu(policy), data, config, template=self.template)
        if config.deepspeed:  # it spreads the weights out of the machine's memory
            policy.model.cpu()
        kind = "guided" if config.guidance == "solution" else "unguided"
        return build_trainer(ctx, policy, data, config, sft_file.of_kind(found, kind))


def _check_counts(config: SelfSFTConfig) -> None:
    low, high = config.min_passes, config.max_passes
    if low > (config.num_probes if high is None else min(high, config.num_probes)):
        raise LabError(
            f"trainer: min_passes={low}, max_passes={high}, num_probes={config.num_probes}; "
            "allowed: min_passes <= max_passes <= num_probes"
        )
    if not config.pairs and config.responses_per_problem > config.num_probes:
        raise LabError(
            f"trainer.responses_per_problem={config.responses_per_problem} is more than the "
            f"trainer.num_probes={config.num_probes} responses that a problem has of each kind"
        )
