"""Accuracy, pass@k, length and epistemic words of sampled completions."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from labrun.errors import LabError
from labrun.plan import Plan, Setup
from labrun.results.statistics.success_rates import avg_at_k, pass_at_k
from labrun.score import Score

from lab_llm.datasets.set_names import check_set_names
from lab_llm.distributed.ranks import gather_objects
from lab_llm.distributed.stopping import (
    StopPoints,
    own_stop_points,
    stop_if_asked,
    stop_points,
)
from lab_llm.evaluation import pass_at_k_curves
from lab_llm.evaluation.config import AccuracyConfig
from lab_llm.grading.grades import grade_all
from lab_llm.policy.engine import Engine, Sampling, Share
from lab_llm.policy.policy import KnownPolicy, Policy, known_policy
from lab_llm.problems import Problem, ProblemSets, Verify, problem_sets
from lab_llm.sampling.batch_engines import end_tokens
from lab_llm.sampling.engines import check_parallel, missing_engine
from lab_llm.sampling.opening import open_engine
from lab_llm.text.completion_text import completion_text
from lab_llm.text.epistemic_words import EPISTEMIC_WORDS, epistemic_count, epistemic_words
from lab_llm.text.prompts import encode, most_tokens

if TYPE_CHECKING:
    from labrun.runs.context import RunContext


Chosen = Mapping[str, Sequence[Problem]]
Prompts = Mapping[str, Sequence[Sequence[int]]]
COUNTS = {"epistemic_words": epistemic_words, "epistemic_count": epistemic_count}


@dataclass(frozen=True)
class Graded:
    """One problem with the texts, token counts and rewards of its samples."""

    problem: Problem
    texts: Sequence[str]
    lengths: Sequence[int]
    rewards: Sequence[float]
    timed_out: Sequence[bool] = ()
    """Whether the grader ran out of time, where it was asked."""


class AccuracyEvaluator:
    """Samples every evaluation set and scores it.

    Metrics of each set, each with one item per problem: `accuracy` (mean reward of its samples,
    avg@k), `pass@{k}` (unbiased), `completion_length` (tokens, the end token included),
    `epistemic_words` and `epistemic_count` (a completion, mean over the samples).
    """

    folder = ""
    """Where its files lie among the run's artifacts."""
    words: Sequence[str] = EPISTEMIC_WORDS
    section = "accuracy"
    """Its keys' section below `evaluator`."""

    def __init__(self, config: AccuracyConfig):
        self.config = config

    @property
    def engine_settings(self) -> AccuracyConfig | None:
        """What opens its engine."""
        return self.config

    @property
    def opens_at_start(self) -> bool:
        """Whether it samples before a training, too."""
        return True

    @property
    def longest_planned(self) -> int:
        """Longest sequence as far as the settings alone tell (tokens)."""
        return self.config.vllm_max_model_len or self.config.max_new_tokens

    def plan(self, setup: Setup) -> Plan:
        self._check_alone(setup)
        split, section = self.config.vllm_tensor_parallel, f"evaluator.{self.section}"
        check_parallel(split, section=section)
        facts = self._facts()
        sets, policy = problem_sets(setup, key=f"evaluator.{self.section}"), known_policy(setup)
        if sets is not None and policy is not None:
            self._check_policy(policy, sets)
        opened = self.engine_settings
        missing = [] if opened is None else missing_engine(opened.engine, section=section)
        return Plan(facts, missing)

    def _check_alone(self, setup: Setup) -> None:
        """LabError where an evaluator before it records scores under the same names."""
        alike = [n for n, e in setup.evaluators.items() if isinstance(e, AccuracyEvaluator)]
        if len(alike) > 1:
            raise LabError(
                f"evaluators {alike[0]} and {alike[1]} give scores of the same names, of which one "
                "would hide the other; name one of them"
            )

    def _facts(self) -> dict[str, object]:
        """Facts of the settings. Raises LabError where they contradict each other."""
        config = self.config
        largest = max(config.pass_k, default=0)
        if largest > config.num_samples:
            raise LabError(
                f"evaluator.{self.section}.pass_k={list(config.pass_k)} needs "
                f"num_samples >= {largest}; it is {config.num_samples}"
            )
        if config.temperature == 0 and config.num_samples > 1:
            raise LabError(
                f"evaluator.{self.section}.temperature=0 gives num_samples={config.num_samples} "
                "equal completions; set num_samples=1 or a temperature above 0"
            )
        return {
            "metric": f"avg@{config.num_samples}",
            "pass_k": list(config.pass_k),
            "engine": config.engine,
        }

    def evaluate(self, ctx: "RunContext", model: Policy, data: ProblemSets) -> list[Score]:
        """Scores of every set, the same on all ranks, each of which samples its share.

        `artifacts/completions/<set>.jsonl` holds the last evaluation's completions, and with more
        than one sample `artifacts/pass_at_k.json` and `.png` its curves. Each set has a seed of its
        own, from the run's seed and the set's name: an evaluation leaves all other random states
        alone, and a later one draws the same numbers. Data without evaluation sets have no scores.
        """
        self._facts()
        if not data.evaluation:
            return []
        chosen, prompts = self._asked(model, data)
        was_training = model.model.training
        model.model.eval()
        try:
            graded = self._sample_and_grade(ctx, model, chosen, prompts, data.verify)
        finally:
            model.model.train(was_training)
        return self._report(ctx, graded)

    def _report(self, ctx: "RunContext", graded: Mapping[str, list[Graded]]) -> list[Score]:
        """Write what belongs to these completions; returns their scores."""
        self._write_curves(ctx, graded)
        return [score for name, found in graded.items() for score in self._scores(name, found)]

    def _check_policy(self, policy: KnownPolicy, data: ProblemSets) -> None:
        """LabError where the longest prompt and max_new_tokens are more than the model takes."""
        problems = [problem for found in self._chosen(data).values() for problem in found]
        key = f"evaluator.{self.section}.max_new_tokens"
        check_prompts_fit(policy, problems, self.config.max_new_tokens, key=key)

    def _chosen(self, data: ProblemSets) -> Chosen:
        """The problems of each set that are evaluated."""
        check_set_names(data.evaluation, key="evaluation sets of the data")
        return {name: self._choose(name, found) for name, found in data.evaluation.items()}

    def _asked(self, policy: Policy, data: ProblemSets) -> tuple[Chosen, Prompts]:
        """The problems of each set that are evaluated, and their prompts' token ids."""
        chosen = self._chosen(data)
        return chosen, {
            name: [encode(policy.tokenizer, problem.prompt) for problem in problems]
            for name, problems in chosen.items()
        }

    def _most_tokens(self, policy: Policy, chosen: Chosen, prompts: Prompts) -> int:
        """Length of the longest prompt with its completion. Raises LabError beyond the model's."""
        problems = [problem for found in chosen.values() for problem in found]
        lengths = [len(ids) for found in prompts.values() for ids in found]
        named = zip(lengths, (problem.id for problem in problems), strict=True)
        longest, name = max(named, default=(0, ""))
        asked = self.config.max_new_tokens
        check_room(policy, longest, name, asked, key=f"evaluator.{self.section}.max_new_tokens")
        return longest + asked

    def most_tokens(self, policy: KnownPolicy, data: ProblemSets) -> int:
        """Length of the longest prompt with its completion (tokens)."""
        problems = [problem for found in self._chosen(data).values() for problem in found]
        lengths = (len(encode(policy.tokenizer, problem.prompt)) for problem in problems)
        return max(lengths, default=0) + self.config.max_new_tokens

    def _choose(self, name: str, problems: Sequence[Problem]) -> Sequence[Problem]:
        if not problems:
            raise LabError(f"evaluation set {name!r} has no problems")
        return problems[: self.config.max_problems]

    def _sample_and_grade(
        self,
        ctx: "RunContext",
        policy: Policy,
        chosen: Chosen,
        prompts: Prompts,
        verify: Verify,
    ) -> dict[str, list[Graded]]:
        num_tokens = self._most_tokens(policy, chosen, prompts)
        section = f"evaluator.{self.section}"
        graded: dict[str, list[Graded]] = {}
        with open_engine(
            ctx, policy, self.config, num_tokens=num_tokens, section=section
        ) as engine:
            for name, problems in chosen.items():
                stop_if_asked(ctx, before=f"set {name!r} was sampled")
                seed = ctx.derive_seed("evaluate", name)
                mine = self._grade_share(
                    ctx, policy, engine, problems, prompts[name], verify, seed=seed
                )
                shares = {i: one for share in gather_objects(mine) for i, one in share.items()}
                graded[name] = [shares[index] for index in range(len(problems))]
                self._write_completions(ctx, name, graded[name], seed=seed, engine=engine.name)
        return graded

    def _grade_share(
        self,
        ctx: "RunContext",
        policy: Policy,
        engine: Engine,
        problems: Sequence[Problem],
        prompts: Sequence[Sequence[int]],
        verify: Verify,
        *,
        seed: int,
    ) -> dict[int, Graded]:
        """This rank's problems of one set, by their place in it."""
        sampling = self._sampling(policy)
        share = Share(ctx.rank, ctx.world_size)
        size = sampling.prompts_at_a_time
        with stop_points(ctx, len(prompts), size, work="sampling") as beat:
            found = engine.sample(prompts, sampling, seed=seed, share=share, beat=beat)
        texts = {
            index: [completion_text(policy.tokenizer, i, prompt_ids=prompts[index]) for i in ids]
            for index, ids in found.items()
        }
        lengths = {index: [len(i) for i in ids] for index, ids in found.items()}
        with own_stop_points(ctx, len(texts), size, work="grading") as beat:
            return _graded(problems, texts, lengths, verify, batch_size=size, beat=beat)

    def _sampling(self, policy: Policy) -> Sampling:
        return Sampling(
            num_samples=self.config.num_samples,
            temperature=self.config.temperature,
            top_p=self.config.top_p,
            top_k=self.config.top_k,
            max_new_tokens=self.config.max_new_tokens,
            batch_size=self.config.batch_size,
            end_token_ids=end_tokens(policy),
        )

    def _write_completions(
        self, ctx: "RunContext", name: str, graded: Sequence[Graded], *, seed: int, engine: str
    ) -> None:
        """One line a sample, problems in the set's order; the seed is that of the whole set."""
        if ctx.rank > 0:
            return
        lines = [
            {
                "id": g.problem.id,
                "index": index,
                "sample": sample,
                "prompt": [dict(message) for message in g.problem.prompt],
                "gold": g.problem.answer,
                "completion": text,
                "tokens": length,
                "reward": reward,
                "correct": reward,
                "timed_out": timed_out,
                "seed": seed,
                "engine": engine,
            }
            for index, g in enumerate(graded)
            for sample, (text, length, reward, timed_out) in enumerate(
                zip(g.texts, g.lengths, g.rewards, g.timed_out, strict=True)
            )
        ]
        _note_timeouts(ctx, name, [line["timed_out"] for line in lines])
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        ctx.write_text(f"{self.folder}completions/{name}.jsonl", text)

    def _write_curves(self, ctx: "RunContext", graded: Mapping[str, list[Graded]]) -> None:
        if self.config.num_samples == 1 or ctx.rank > 0:
            return
        curves = {
            name: pass_at_k_curves.curve([g.rewards for g in found], ctx.rng("bootstrap", name))
            for name, found in graded.items()
        }
        written = {
            "interval": pass_at_k_curves.INTERVAL,
            "sampling": asdict(self.config),
            "sets": {name: found.as_json() for name, found in curves.items()},
        }
        ctx.write_text(f"{self.folder}pass_at_k.json", json.dumps(written, indent=1) + "\n")
        ctx.figure(f"{self.folder}pass_at_k", pass_at_k_curves.draw(curves))

    def _scores(self, name: str, graded: Sequence[Graded]) -> list[Score]:
        return [
            Score(task=name, metric=metric, value=fmean(values), n=len(values), items=values)
            for metric, values in self._items(graded).items()
        ]

    def _items(self, graded: Sequence[Graded]) -> dict[str, list[float]]:
        """Metric -> its value for every problem."""
        items = self._outcomes(graded)
        items["completion_length"] = [fmean(g.lengths) for g in graded]
        for metric, count in COUNTS.items():
            items[metric] = [fmean(count(t, self.words) for t in g.texts) for g in graded]
        return items

    def _outcomes(self, graded: Sequence[Graded]) -> dict[str, list[float]]:
        """Those of the metrics that the rewards give."""
        items = {"accuracy": [avg_at_k(g.rewards) for g in graded]}
        for k in self.config.pass_k:
            correct = [sum(reward == 1.0 for reward in g.rewards) for g in graded]
            counted = zip(graded, correct, strict=True)
            items[f"pass@{k}"] = [pass_at_k(len(g.rewards), c, k) for g, c in counted]
        return items


def _graded(
    problems: Sequence[Problem],
    texts: Mapping[int, Sequence[str]],
    lengths: Mapping[int, Sequence[int]],
    verify: Verify,
    *,
    batch_size: int,
    beat: StopPoints,
) -> dict[int, Graded]:
    """The problems at these places with their samples, graded `batch_size` problems at a time."""
    graded: dict[int, Graded] = {}
    places = [*texts]
    for start in range(0, len(places), batch_size):
        batch = places[start : start + batch_size]
        asked = [problems[index] for index in batch for _ in texts[index]]
        grades = grade_all(verify, asked, [text for index in batch for text in texts[index]])
        end = 0
        for index in batch:
            begin, end = end, end + len(texts[index])
            graded[index] = Graded(
                problems[index],
                texts[index],
                lengths[index],
                grades.rewards[begin:end],
                grades.timed_out[begin:end],
            )
        beat()
    return graded


def _note_timeouts(ctx: "RunContext", name: str, timed_out: Sequence[bool]) -> None:
    if count := sum(timed_out):
        ctx.note(
            f"the grader ran out of time for {count} of {len(timed_out)} completions of {name}: "
            "their reward is 0"
        )


def check_prompts_fit(
    policy: KnownPolicy, problems: Sequence[Problem], asked: int, *, key: str
) -> None:
    """LabError, naming `key`, where a prompt and `asked` new tokens are more than the model takes.

    Only prompts are tokenised whose bytes would not fit.
    """
    limit = getattr(policy.config, "max_position_embeddings", None)
    suspects = [p for p in problems if limit and most_tokens(p.prompt) + asked > limit]
    lengths = ((len(encode(policy.tokenizer, p.prompt)), p.id) for p in suspects)
    longest, name = max(lengths, default=(0, ""))
    check_room(policy, longest, name, asked, key=key)


def check_room(policy: KnownPolicy, longest: int, name: str, asked: int, *, key: str) -> None:
    """LabError, naming `key`, where the longest prompt (tokens, of problem `name`) and `asked` new
    tokens are more than the model takes."""
    limit = getattr(policy.config, "max_position_embeddings", None)
    if limit is None or longest + asked <= limit:
        return
    left = limit - longest
    raise LabError(
        f"{key}={asked}: with the prompt of {name}, {longest} tokens, that is more than the "
        f"model's {limit}; " + (f"set {left} at most" if left > 0 else "take the problem out")
    )
