"""The evaluator `richness`: study 1, one model under contexts from none to a full solution."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lab_llm.evaluation.accuracy import AccuracyEvaluator, check_prompts_fit
from lab_llm.policy.policy import KnownPolicy, Policy, known_policy
from lab_llm.problems import Problem, ProblemSets, problem_sets
from lab_llm.sampling.config import SamplingConfig
from lab_llm.sampling.engines import check_parallel, missing_engine
from lab_llm.sampling.opening import open_engine
from lab_llm.text.prompts import encode, with_solution
from labrun import LabError, Plan, Score, Setup

from lab_epistemic.richness.config import LEVELS, Level, RichnessConfig
from lab_epistemic.richness.contexts import contexts
from lab_epistemic.richness.responses import Asked, Interview
from lab_epistemic.richness.scores import LevelResult, scores, summary
from lab_epistemic.richness.selection import (
    check_thinking,
    check_window,
    pass_counts,
    pool_of,
    select,
    solutions,
)

if TYPE_CHECKING:
    from labrun.runs.context import RunContext


class RichnessEvaluator:
    """Probes the pool, keeps problems that are solved now and then, and asks these at each level.

    A level is a task of the scores, with one item for each kept problem: `accuracy`,
    `completion_length`, `epistemic_words`, `epistemic_count` and `epistemic_words_per_1k`; and the
    counts of problems `num_problems`, `truncated`, `num_unmarked` and `num_lost`. Files:
    `artifacts/richness.json`, `richness.png`, `richness/probe.jsonl`, `richness/round_K.jsonl` and
    `richness/LEVEL.jsonl`.
    """

    section = "richness"
    """Its keys' section below `evaluator`."""

    def __init__(self, config: RichnessConfig) -> None:
        self.config = config

    @property
    def engine_settings(self) -> SamplingConfig:
        """What opens its engine."""
        config = self.config
        return SamplingConfig(
            engine=config.engine,
            vllm_gpu_memory_utilization=config.vllm_gpu_memory_utilization,
            vllm_tensor_parallel=config.vllm_tensor_parallel,
        )

    @property
    def longest_planned(self) -> int:
        """Longest sequence as far as the settings alone tell (tokens), as `longest_needed`."""
        return 3 * self.config.max_new_tokens

    @property
    def opens_at_start(self) -> bool:
        """Whether it samples before a training, too."""
        return not self.config.only_last

    def plan(self, setup: Setup) -> Plan:
        split, section = self.config.vllm_tensor_parallel, "evaluator.richness"
        check_parallel(split, section=section)
        facts = self._facts()
        sets = problem_sets(setup, key="evaluator.richness")
        if sets is not None:
            scoring = [n for n, e in setup.evaluators.items() if isinstance(e, AccuracyEvaluator)]
            self._check_names(sets, scoring)
            self._check_pool(sets, known_policy(setup))
        return Plan(facts, missing_engine(self.config.engine, section=section))

    def _facts(self) -> dict[str, object]:
        """Facts of the settings. Raises LabError where they contradict each other."""
        config = self.config
        check_window(config)
        if len(set(config.levels)) < len(config.levels):
            raise LabError(f"evaluator.richness.levels={list(config.levels)}: name each once")
        config.prompt.check_template(key="evaluator.richness.template")
        rounds = config.rounds if "guided" in config.levels else 0
        at_most = config.num_problems * config.num_samples * (len(config.levels) + rounds)
        return {"probes": config.pool_size * config.num_probes, "responses_at_most": at_most}

    def _check_names(self, sets: ProblemSets, others: Sequence[str]) -> None:
        """LabError where another evaluator's scores of a set would bear a level's name."""
        alike = [name for name in sets.evaluation if name in self.config.levels]
        if alike and others:
            raise LabError(
                f"evaluation set {alike[0]!r} has the name of a level of evaluator.richness: its "
                f"scores and those of evaluator {others[0]} would hide one another; rename the "
                "set, or leave the level or the evaluator out"
            )

    def _check_pool(self, sets: ProblemSets, policy: KnownPolicy | None) -> None:
        """LabError where the pool is not in the data or lacks what its use needs, or the model has
        no room for a probe or marks no thinking that a level leaves out."""
        pool = pool_of(sets, self.config)
        check_thinking(sets, pool, self.config, None if policy is None else policy.tokenizer)
        if policy is not None:
            key = "evaluator.richness.max_new_tokens"
            check_prompts_fit(policy, pool, self.config.max_new_tokens, key=key)

    def most_tokens(self, policy: KnownPolicy, data: ProblemSets) -> int:
        """The model's context (tokens): how long a shown response is comes out in the run."""
        del data
        return getattr(policy.config, "max_position_embeddings", None) or self.config.max_new_tokens

    def evaluate(self, ctx: "RunContext", model: Policy, data: ProblemSets) -> list[Score]:
        """The scores of every level, the same on all ranks."""
        self._facts()
        if self.config.only_last and not _is_last(ctx):
            return []
        pool = pool_of(data, self.config)
        check_thinking(data, pool, self.config, model.tokenizer)
        with _evaluating(model), self._interview(ctx, model, data, pool) as interview:
            study = _Study(interview, data)
            probes = study.ask("probe", pool, num_samples=self.config.num_probes)
            chosen = select(probes, self.config)
            found = solutions(chosen, self.config, ctx.rng("richness", "solution"))
            results = [*study.levels([one.problem for one in chosen], found)]
        if ctx.rank == 0:
            self._write(ctx, probes, results)
        return [score for result in results for score in scores(result, self.config.words)]

    @contextmanager
    def _interview(
        self, ctx: "RunContext", policy: Policy, sets: ProblemSets, pool: Sequence[Problem]
    ) -> Iterator[Interview]:
        """Asks the policy in the form that it knows, with the engine that the config names."""
        config, section = self.config, "evaluator.richness"
        template = config.prompt.template_for(str(policy.tokenizer.name_or_path))
        longest = longest_needed(policy, pool, config, template=template)
        with open_engine(
            ctx, policy, self.engine_settings, num_tokens=longest, section=section
        ) as engine:
            yield Interview(ctx, policy, engine, sets.verify, config, template, longest)

    def _write(
        self, ctx: "RunContext", probes: Sequence[Asked], results: Sequence[LevelResult]
    ) -> None:
        from lab_epistemic.richness.figure import draw

        config = self.config
        facts = {"step": ctx.step, "settings": asdict(config), "pass_counts": pass_counts(probes)}
        told = facts | summary(results, config.words)
        text = json.dumps(told, indent=1, ensure_ascii=False) + "\n"
        ctx.write_text("richness.json", text)
        kept = max(len(result.asked) for result in results)
        title = (
            f"{kept} problems of {config.pool}, {config.num_samples} responses each, "
            f"step {ctx.step}; mean and 95% interval over problems"
        )
        ctx.figure("richness", draw(results, config.words, title=title))


class _Study:
    """The stages of one evaluation after another."""

    def __init__(self, interview: Interview, sets: ProblemSets) -> None:
        self.interview, self.forms, self.config = interview, sets.forms, interview.config

    def levels(self, problems: Sequence[Problem], found: Sequence[str]) -> Iterator[LevelResult]:
        """The results from poor to rich. Contexts that are parts of a solution are cut first, so
        that what they lack shows before any level is sampled."""
        wanted: list[Level] = [level for level in LEVELS if level in self.config.levels]
        static = {
            level: contexts(level, problems, found, self.forms)
            for level in wanted
            if level != "guided"
        }
        for level in wanted:
            if level == "guided":
                yield self._guided(problems, found)
                continue
            places = [*static[level]]
            asked = self.ask(level, [problems[i] for i in places], [*static[level].values()])
            by_place = dict(zip(places, asked, strict=True))
            counts = {"num_problems": len(asked), "truncated": sum(o.truncated for o in asked)}
            if level == "without_thinking":
                counts["num_unmarked"] = len(problems) - len(asked)
            yield LevelResult(level, by_place, counts)

    def _guided(self, problems: Sequence[Problem], found: Sequence[str]) -> LevelResult:
        """Chained rounds: s guides the first, a correct response of each round the next, and one of
        the last round the level. A problem without one keeps what it was shown; with
        response_choice=first its first response guides, though it is wrong."""
        rng = self.interview.ctx.rng("richness", "guided")
        guides = [*found]
        lost: set[int] = set()
        cut: set[int] = set()
        for number in range(1, self.config.rounds + 1):
            asked = self.ask(f"round_{number}", problems, guides)
            cut |= {i for i, one in enumerate(asked) if one.truncated}
            for i, one in enumerate(asked):
                correct = one.correct
                if not correct:
                    lost.add(i)
                if self.config.response_choice == "first":
                    guides[i] = correct[0] if correct else one.responses[0].text
                elif correct:
                    guides[i] = correct[int(rng.integers(len(correct)))]
        asked = self.ask("guided", problems, guides)
        cut |= {i for i, one in enumerate(asked) if one.truncated}
        counts = {"num_problems": len(asked), "truncated": len(cut), "num_lost": len(lost)}
        return LevelResult("guided", dict(enumerate(asked)), counts)

    def ask(
        self,
        stage: str,
        problems: Sequence[Problem],
        given: Sequence[str | None] | None = None,
        *,
        num_samples: int | None = None,
    ) -> list[Asked]:
        """`num_samples` responses (None: the config's) to each problem, shown what is `given`."""
        parts = [None] * len(problems) if given is None else given
        size = self.config.num_samples if num_samples is None else num_samples
        return self.interview.ask(stage, problems, parts, num_samples=size)


def longest_needed(
    policy: Policy, pool: Sequence[Problem], config: RichnessConfig, *, template: str
) -> int:
    """Room for a prompt with its response (tokens): what the model takes, or less where the study
    needs less.

    A context is a response or a solution of the dataset; twice its length, since a text may take
    more tokens than were sampled.
    """
    tokenizer: Any = policy.tokenizer
    asked = [with_solution(problem.prompt, "", template) for problem in pool]
    prompt = max(len(encode(policy.tokenizer, messages)) for messages in asked)
    given = [len(tokenizer(p.solution)["input_ids"]) for p in pool if p.solution is not None]
    needed = prompt + 2 * max([config.max_new_tokens, *given]) + config.max_new_tokens
    limit = getattr(policy.model.config, "max_position_embeddings", None)
    return needed if limit is None else min(needed, limit)


def _is_last(ctx: "RunContext") -> bool:
    settings: Mapping[str, Any] = ctx.run.experiment().settings["trainer"]
    return ctx.step >= settings["max_steps"]


@contextmanager
def _evaluating(policy: Policy) -> Iterator[None]:
    """The model without dropout; its mode comes back at the end."""
    was_training = policy.model.training
    policy.model.eval()
    try:
        yield
    finally:
        policy.model.train(was_training)
