"""The evaluator `promotion`: tokens that the base model held for improbable and that now lead."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from lab_llm.policy.facts import policy_facts
from lab_llm.policy.policy import KnownPolicy, Policy, known_policy, load_policy
from lab_llm.policy.tokenizer_files import load_tokenizer
from lab_llm.problems import ProblemSets
from labrun import LabError, Plan, Score, Setup

from lab_rlrt.analysis.config import PromotionConfig
from lab_rlrt.analysis.promotion.places import Places, find_places, scores, token_table
from lab_rlrt.analysis.rollouts import (
    check_run,
    check_sampling,
    choose_set,
    evaluating,
    is_due,
    sample_groups,
)
from lab_rlrt.analysis.traces import token_texts

if TYPE_CHECKING:
    from labrun.runs.context import RunContext


class PromotionEvaluator:
    """Counts promoted tokens at every position of the evaluated model's own completions.

    Scores: `promoted` and `promoted_sampled` (a rollout, one item a problem),
    `promoted_per_1000`, `promoted_sampled_per_1000` (tokens), `promoted_distinct` (different
    tokens). Files: `artifacts/promotion.png` and `promotion_tokens.jsonl`.
    """

    def __init__(self, config: PromotionConfig) -> None:
        self.config = config

    def plan(self, setup: Setup) -> Plan:
        try:
            policy_facts(self.config.base)
        except LabError as error:
            raise LabError(f"evaluator.promotion.base: {error}") from error
        if (policy := known_policy(setup)) is not None:
            check_vocabulary(policy, self.config)
        check_run(setup, self.config, section="promotion")
        return Plan({"base": self.config.base.name, "threshold": self.config.threshold})

    def evaluate(self, ctx: "RunContext", model: Policy, data: ProblemSets) -> list[Score]:
        check_vocabulary(model, self.config)
        check_sampling(model, data, self.config, section="promotion")
        if not is_due(ctx, only_last=self.config.only_last):
            return []
        name, _ = choose_set(data, self.config)
        with evaluating(model), torch.random.fork_rng(devices=[]):  # loading may draw numbers
            base = load_policy(self.config.base)
            module: Any = base.model
            module.to(model.model.device)
            rollouts = sample_groups(ctx, model, data, self.config)
            places = find_places(ctx, base, model, rollouts, self.config)
        tops = sorted(set(places.top.tolist()))
        rows = token_table(places, dict(zip(tops, token_texts(model, tops), strict=True)))
        self._write(ctx, name, places, rows)
        return scores(name, places, rollouts, num_samples=self.config.num_samples)

    def _write(
        self, ctx: "RunContext", name: str, places: Places, rows: Sequence[Mapping[str, object]]
    ) -> None:
        from lab_rlrt.analysis.promotion.figure import draw

        with ctx.artifact_path("promotion_tokens.jsonl").open("w", encoding="utf-8") as out:
            for row in rows:
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
        title = f"{ctx.run_id}, step {ctx.step}, {name}, base {self.config.base.name}"
        figure = draw(
            places, rows[: self.config.num_listed], threshold=self.config.threshold, title=title
        )
        ctx.figure("promotion", figure)


def check_vocabulary(policy: KnownPolicy, config: PromotionConfig) -> None:
    """Raises LabError where the base model's tokens are not the policy's."""
    base = load_tokenizer(config.base).get_vocab()
    if base != policy.tokenizer.get_vocab():
        raise LabError(
            f"evaluator.promotion.base.name={config.base.name!r} has another vocabulary than the "
            "evaluated model; name the model that training started from"
        )
