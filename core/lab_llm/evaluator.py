"""Accuracy, pass@k, length and epistemic words of sampled completions."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from labrun.contract import Score
from labrun.errors import LabError

from lab_llm import pass_at_k_curves
from lab_llm.engines import Engine, Sampling, Share, check_engine, end_tokens, open_engine
from lab_llm.evaluator_config import AccuracyConfig
from lab_llm.pass_at_k import avg_at_k, pass_at_k
from lab_llm.policy import Policy
from lab_llm.problems import Problem, ProblemSets, Verify, checked
from lab_llm.ranks import gather_objects
from lab_llm.templates import encode
from lab_llm.verbalization import EPISTEMIC_WORDS, epistemic_count, epistemic_words

if TYPE_CHECKING:
    from labrun.context import RunContext


COUNTS = {"epistemic_words": epistemic_words, "epistemic_count": epistemic_count}


@dataclass(frozen=True)
class Graded:
    """One problem with the texts, token counts and rewards of its samples."""

    problem: Problem
    texts: Sequence[str]
    lengths: Sequence[int]
    rewards: Sequence[float]


class AccuracyEvaluator:
    """Samples every evaluation set and scores it.

    Metrics of each set, each with one item per problem: `accuracy` (mean reward of its samples,
    avg@k), `pass@{k}` (unbiased), `completion_length` (tokens, the end token included),
    `epistemic_words` and `epistemic_count` (a completion, mean over the samples).
    """

    folder = ""
    """Where its files lie among the run's artifacts."""
    words: Sequence[str] = EPISTEMIC_WORDS

    def __init__(self, config: AccuracyConfig):
        self.config = config

    def preflight(self) -> dict[str, object]:
        config = self.config
        largest = max(config.pass_k, default=0)
        if largest > config.num_samples:
            raise LabError(
                f"evaluator.pass_k={list(config.pass_k)} needs num_samples >= {largest}; "
                f"it is {config.num_samples}"
            )
        if config.temperature == 0 and config.num_samples > 1:
            raise LabError(
                f"evaluator.temperature=0 gives num_samples={config.num_samples} equal completions;"
                " set num_samples=1 or a temperature above 0"
            )
        check_engine(config.engine)
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
        alone, and a later one draws the same numbers.
        """
        self.preflight()
        chosen = {name: self._choose(name, found) for name, found in data.evaluation.items()}
        prompts = {
            name: [encode(model.tokenizer, problem.prompt) for problem in problems]
            for name, problems in chosen.items()
        }
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

    def _choose(self, name: str, problems: Sequence[Problem]) -> Sequence[Problem]:
        if not problems:
            raise LabError(f"evaluation set {name!r} has no problems")
        return problems[: self.config.max_problems]

    def _sample_and_grade(
        self,
        ctx: "RunContext",
        policy: Policy,
        chosen: Mapping[str, Sequence[Problem]],
        prompts: Mapping[str, Sequence[Sequence[int]]],
        verify: Verify,
    ) -> dict[str, list[Graded]]:
        lengths = [len(prompt) for of_set in prompts.values() for prompt in of_set]
        num_tokens = max(lengths, default=0) + self.config.max_new_tokens
        graded: dict[str, list[Graded]] = {}
        with open_engine(ctx, policy, self.config, num_tokens=num_tokens) as engine:
            for name, problems in chosen.items():
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
        found = engine.sample(prompts, sampling, seed=seed, share=share, beat=ctx.heartbeat)
        graded: dict[int, Graded] = {}
        for index, ids in found.items():
            problem = problems[index]
            texts = [str(policy.tokenizer.decode(i, skip_special_tokens=True)) for i in ids]
            rewards = [checked(problem, verify(problem, text)) for text in texts]
            graded[index] = Graded(problem, texts, [len(i) for i in ids], rewards)
            ctx.heartbeat()
        return graded

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
                "completion": text,
                "tokens": length,
                "correct": reward,
                "seed": seed,
                "engine": engine,
            }
            for index, g in enumerate(graded)
            for sample, (text, length, reward) in enumerate(
                zip(g.texts, g.lengths, g.rewards, strict=True)
            )
        ]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        replace(ctx, f"{self.folder}completions/{name}.jsonl", text)

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
        replace(ctx, f"{self.folder}pass_at_k.json", json.dumps(written, indent=1) + "\n")
        ctx.figure(f"{self.folder}pass_at_k", pass_at_k_curves.draw(curves))

    def _scores(self, name: str, graded: Sequence[Graded]) -> list[Score]:
        return [
            Score(task=name, metric=metric, value=fmean(values), n=len(values), items=values)
            for metric, values in self._items(graded).items()
        ]

    def _items(self, graded: Sequence[Graded]) -> dict[str, list[float]]:
        """Metric -> its value for every problem."""
        num = self.config.num_samples
        items = {"accuracy": [avg_at_k(g.rewards) for g in graded]}
        for k in self.config.pass_k:
            correct = [sum(reward == 1.0 for reward in g.rewards) for g in graded]
            items[f"pass@{k}"] = [pass_at_k(num, c, k) for c in correct]
        items["completion_length"] = [fmean(g.lengths) for g in graded]
        for metric, count in COUNTS.items():
            items[metric] = [fmean(count(t, self.words) for t in g.texts) for g in graded]
        return items


def replace(ctx: "RunContext", name: str, text: str) -> None:
    """Write an artifact aside and put it in place whole."""
    path = ctx.artifact_path(name)
    draft = path.with_name(path.name + ".draft")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)
