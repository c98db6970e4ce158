"""The evaluator `promotion`: tokens that the base model held for improbable and that now lead."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from lab_llm.distributed.stopping import stop_if_asked
from lab_llm.policy.policy import Policy, load_policy, load_tokenizer, preflight_policy
from lab_llm.problems import ProblemSets
from labrun import Dataset, LabError, Score
from torch import Tensor

from lab_rlrt import objectives
from lab_rlrt.analysis.config import PromotionConfig
from lab_rlrt.analysis.rollouts import (
    Reduce,
    Rollout,
    Side,
    check_sampling,
    check_set,
    choose_set,
    compare_along,
    evaluating,
    is_due,
    sample_groups,
)
from lab_rlrt.analysis.traces import token_texts

if TYPE_CHECKING:
    from labrun.context import RunContext

THOUSAND = 1000


@dataclass(frozen=True)
class Places:
    """All positions of all rollouts, one entry each.

    `rollout` numbers the rollout; `sampled` is its token there and `top` the evaluated model's
    first; `base` and `trained` are log-probabilities (nats) of `top`, `base_sampled` and
    `trained_sampled` of the sampled token; `promoted` says whether `top` had base probability
    below the threshold.
    """

    rollout: Int[Tensor, " N"]
    sampled: Int[Tensor, " N"]
    top: Int[Tensor, " N"]
    base: Float[Tensor, " N"]
    trained: Float[Tensor, " N"]
    base_sampled: Float[Tensor, " N"]
    trained_sampled: Float[Tensor, " N"]
    promoted: Tensor

    @property
    def promoted_sampled(self) -> Tensor:
        """Promoted, and the token that the rollout went on with."""
        return self.promoted & (self.sampled == self.top)


class PromotionEvaluator:
    """Counts promoted tokens at every position of the evaluated model's own completions.

    Scores: `promoted` and `promoted_sampled` (a rollout, one item a problem),
    `promoted_per_1000`, `promoted_sampled_per_1000` (tokens), `promoted_distinct` (different
    tokens). Files: `artifacts/promotion.png` and `promotion_tokens.jsonl`.
    """

    def __init__(self, config: PromotionConfig) -> None:
        self.config = config

    def preflight(self) -> dict[str, object]:
        try:
            preflight_policy(self.config.base)
        except LabError as error:
            raise LabError(f"evaluator.promotion.base: {error}") from error
        return {"base": self.config.base.name, "threshold": self.config.threshold}

    def check(self, dataset: Dataset) -> None:
        check_set(dataset, self.config, section="promotion")

    def check_policy(self, policy: Policy, data: ProblemSets) -> None:
        check_vocabulary(policy, self.config)
        check_sampling(policy, data, self.config, section="promotion")

    def evaluate(self, ctx: "RunContext", model: Policy, data: ProblemSets) -> list[Score]:
        self.check_policy(model, data)
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


def check_vocabulary(policy: Policy, config: PromotionConfig) -> None:
    """Raises LabError where the base model's tokens are not the policy's."""
    base = load_tokenizer(config.base).get_vocab()
    if base != policy.tokenizer.get_vocab():
        raise LabError(
            f"evaluator.promotion.base.name={config.base.name!r} has another vocabulary than the "
            "evaluated model; name the model that training started from"
        )


def reduce_at(threshold: float) -> Reduce:
    """Top token, its two log-probabilities, the sampled token's two, and whether it is promoted."""

    def reduce(base: Tensor, trained: Tensor, tokens: Tensor) -> Tensor:
        top = trained.argmax(-1)
        columns = (
            top,
            objectives.sampled_logprobs(base, top),
            objectives.sampled_logprobs(trained, top),
            objectives.sampled_logprobs(base, tokens),
            objectives.sampled_logprobs(trained, tokens),
            objectives.promoted(base, trained, threshold=threshold).any(-1),
        )
        return torch.stack([column.double() for column in columns], dim=-1)

    return reduce


def find_places(
    ctx: "RunContext",
    base: Policy,
    trained: Policy,
    rollouts: Sequence[Rollout],
    config: PromotionConfig,
) -> Places:
    """Both models' view of every position of the rollouts, each after the same tokens."""
    prompts = [rollout.prompt for rollout in rollouts]
    completions = [rollout.completion for rollout in rollouts]
    found = compare_along(
        Side(base, prompts),
        Side(trained, prompts),
        completions,
        reduce_at(config.threshold),
        settings=config,
        beat=partial(stop_if_asked, ctx, before="all rollouts were compared"),
    )
    top, base_top, trained_top, base_sampled, trained_sampled, promoted = torch.cat(found).T
    lengths = torch.tensor([len(ids) for ids in completions])
    return Places(
        rollout=torch.arange(len(rollouts)).repeat_interleave(lengths),
        sampled=torch.tensor([token for ids in completions for token in ids]),
        top=top.long(),
        base=base_top,
        trained=trained_top,
        base_sampled=base_sampled,
        trained_sampled=trained_sampled,
        promoted=promoted.bool(),
    )


def scores(
    name: str, places: Places, rollouts: Sequence[Rollout], *, num_samples: int
) -> list[Score]:
    """Counts of promoted positions: a rollout, for 1,000 tokens, and different tokens."""
    found: list[Score] = []
    for metric in ("promoted", "promoted_sampled"):
        flags = getattr(places, metric)
        counts = torch.bincount(places.rollout[flags], minlength=len(rollouts)).double()
        items = counts.view(-1, num_samples).mean(1).tolist()
        found.append(Score(name, metric, fmean(items), len(items), items))
        rate = THOUSAND * flags.double().mean().item()
        found.append(Score(name, f"{metric}_per_1000", rate, len(flags)))
    distinct = len(places.top[places.promoted].unique())
    return [*found, Score(name, "promoted_distinct", float(distinct), 1)]


def token_table(places: Places, texts: Mapping[int, str]) -> list[dict[str, object]]:
    """Promoted tokens by falling count, with their mean probabilities where they are promoted."""
    counts = Counter(places.top[places.promoted].tolist())
    rows: list[dict[str, object]] = []
    for token, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
        here = places.promoted & (places.top == token)
        rows.append(
            {
                "token": texts[token],
                "id": token,
                "count": count,
                "sampled": int((here & places.promoted_sampled).sum()),
                "base_probability": places.base[here].exp().mean().item(),
                "probability": places.trained[here].exp().mean().item(),
            }
        )
    return rows
