"""Settings of the analyses."""

from typing import Annotated

from annotated_types import Ge, Gt, Lt, MinLen
from lab_llm.policy.config import PolicyConfig
from lab_llm.text.config import TeacherPrompt
from labrun import schema


@schema
class RolloutSettings:
    """The rollouts that an analysis looks at, groups of them on one evaluation set."""

    evaluation_set: str = ""
    """Name of the evaluation set; empty: the data's first."""
    max_problems: Annotated[int, Ge(1)] = 40
    """Problems of the set, the first ones (count)."""
    num_samples: Annotated[int, Ge(1)] = 8
    """Rollouts of each problem, a group (count)."""
    max_new_tokens: Annotated[int, Ge(1)] = 128
    """Longest rollout (tokens)."""
    temperature: Annotated[float, Gt(0)] = 1.0
    """Divides the logits, when sampling and in every probability that is reported."""
    batch_size: Annotated[int, Ge(1)] = 64
    """Rollouts that go through the model at a time (count). Another value gives other rollouts."""
    chunk_size: Annotated[int, Ge(1)] = 1024
    """Positions whose distribution over the vocabulary is in memory at a time (count)."""
    only_last: bool = True
    """Work only at the run's last evaluation; else at each, where later files replace earlier."""


@schema
class TaughtSettings(TeacherPrompt, RolloutSettings):
    """Rollouts with a teacher: the same model, given a correct rollout of the group."""


@schema
class AsymmetryConfig(TaughtSettings):
    """How much more the student expected its tokens than the teacher did, along rollouts."""

    only_last: bool = False
    """Work only at the run's last evaluation; else at each, where later files replace earlier."""
    num_shown: Annotated[int, Ge(1)] = 24
    """Rollouts in the HTML page, half of them correct (count)."""
    num_drawn: Annotated[int, Ge(1)] = 6
    """Rollouts in the PNG, half of them correct (count)."""
    min_count: Annotated[int, Ge(1)] = 5
    """Occurrences of a token below which the table of tokens leaves it out (count)."""


@schema
class ReflectionConfig(TaughtSettings):
    """Whether a reflective phrase at the position of largest KL turns the outcome around."""

    phrase: Annotated[str, MinLen(1)] = " no maybe"
    """What is inserted, with its spaces. The default is how the tiny model turns around; for a
    model that speaks English, `Wait, let me reconsider.`"""
    max_rollouts: Annotated[int, Ge(2)] = 200
    """Rollouts of mixed groups that are continued, the first ones (count)."""


@schema
class PromotionConfig(RolloutSettings):
    """Tokens that were improbable before training and are now the most probable."""

    base: PolicyConfig = PolicyConfig()
    """The model before training."""
    threshold: Annotated[float, Gt(0), Lt(1)] = 1e-3
    """Base probability below which a token counts as promoted (arXiv 2605.10781: 1e-3)."""
    num_listed: Annotated[int, Ge(1)] = 15
    """Tokens in the figure's list (count)."""


@schema
class CurvesConfig:
    """Curves of the run's own metrics and scores, and the check for a collapse."""

    window: Annotated[int, Ge(1)] = 10
    """Steps of the running mean that the check reads (count)."""
    drop: Annotated[float, Gt(0), Lt(1)] = 0.5
    """Share of its best running mean that the reward loses in a collapse (fraction)."""
    growth: Annotated[float, Gt(1)] = 1.5
    """Entropy or length over its value at the best reward, at least, in a collapse (factor)."""
