"""Every position of rollouts as two models see it, and the tokens that are promoted there."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from lab_llm.distributed.stopping import stop_if_asked
from lab_llm.policy.policy import Policy
from labrun import Score
from torch import Tensor

from lab_rlrt import objectives
from lab_rlrt.analysis.config import PromotionConfig
from lab_rlrt.analysis.rollouts import (
    Reduce,
    Rollout,
    Side,
    compare_along,
)

if TYPE_CHECKING:
    from labrun.runs.context import RunContext

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
