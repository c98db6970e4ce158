"""The trainer component of study 2: off-policy self-distillation."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab_llm.planning import fine_tuning
from lab_llm.planning import prompts as prompts_plan
from lab_llm.planning import teacher as teacher_plan
from lab_llm.planning.gpus import missing_precision
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.facts import policy_facts
from lab_llm.policy.location import NotHereError
from lab_llm.policy.policy import Policy, PolicyFiles, known_by_files, load_policy, save_policy
from lab_llm.policy.tokenizer_files import load_tokenizer
from lab_llm.problems import ProblemSets, problem_sets
from lab_llm.sampling.engines import KINDS
from lab_llm.text.prompts import encode, most_tokens, with_solution
from lab_llm.training import run as grpo_run
from lab_llm.training.precision import check_precision, trained_model
from labrun import LabError, Plan, PreemptedError, Setup, TrainResult

from lab_epistemic.sft import file as sft_file
from lab_epistemic.sft.config import SelfSFTConfig, micro_batch_size

if TYPE_CHECKING:
    from labrun.runs.context import RunContext


class SelfSFTTrainer:
    """Fine-tunes the model at the start on the responses that `config.guidance` names."""

    def __init__(self, config: SelfSFTConfig) -> None:
        self.config = config
        self.template = config.template_for(config.model.name)

    @property
    def _trained(self) -> PolicyConfig:
        """The model as it is trained."""
        config = self.config
        return trained_model(config.model, master_weights=config.master_weights, deepspeed=False)

    def plan(self, setup: Setup) -> Plan:
        config = self.config
        sets = problem_sets(setup, key="trainer")
        _check_counts(config)
        config.check_template(key="trainer.teacher_template")
        facts: dict[str, object] = {"optimizer_steps": config.max_steps}
        facts["micro_batch_size"] = micro_batch_size(config)
        facts |= check_precision(
            config.model,
            master_weights=config.master_weights,
            deepspeed=False,
            learning_rate=config.learning_rate,
        )
        facts |= fine_tuning.facts(
            config.model,
            trained=self._trained,
            micro_batch_size=micro_batch_size(config),
            max_completion_length=config.max_completion_length,
            checkpointing=config.gradient_checkpointing,
            samples_by_vllm=config.sampler == "vllm" and not config.pairs,
        )
        sampler = KINDS[config.sampler]
        missing = sampler.missing(key="trainer.sampler", instead="trainer.sampler=cpu")
        missing += missing_precision(config.model)
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
        return Plan(facts, missing, offers=policy)

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
            teacher_plan.check_solutions(sets.train, key=key)
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
        policy = load_policy(config.model if config.max_steps == 0 else self._trained)
        grpo_run.check_evaluators(ctx, policy, data)
        if torch.cuda.is_available():
            policy.model.to("cuda")  # pyrefly: ignore[bad-argument-type]
        if config.max_steps == 0:
            return TrainResult(policy, 0)
        if ctx.resume_from is None and config.evaluate_start:
            ctx.evaluate(policy, data, step=0)
        step = self._train(ctx, policy, data)
        save_policy(policy, ctx.run.artifacts / "model", template=self.template)
        return TrainResult(policy, step)

    def _train(self, ctx: "RunContext", policy: Policy, data: ProblemSets) -> int:
        from lab_epistemic.sft import pairs as sft_pairs
        from lab_epistemic.sft.transformers_trainer import build_trainer

        config = self.config
        found = sft_pairs.of_run(ctx, policy, data, config, template=self.template)
        kind = "guided" if config.guidance == "solution" else "unguided"
        trainer = build_trainer(ctx, policy, data, config, sft_file.of_kind(found, kind))
        ctx.progress(total=config.max_steps, stage="update")
        trainer.train_in_run()
        step = trainer.state.global_step
        if step < config.max_steps:
            raise PreemptedError(f"stopped at step {step} of {config.max_steps}")
        policy.model.eval()
        return step


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
