"""Settings of the baselines; values are those of LAMDA-RL/ODIS and mooricAnna/HiSSD."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt
from lab_marl.networks.config import Mask, TransformerConfig
from lab_marl.training.config import OfflineSettings
from labrun import schema

from lab_stairs.config import MixerConfig


@schema
class UPDeTConfig(OfflineSettings):
    """UPDeT with a conservative term: UPDeT-l sums the agents' values, UPDeT-m mixes them."""

    transformer: TransformerConfig = TransformerConfig()
    """The agents' network."""
    mixing: Literal["sum", "attention"] = "attention"
    """Q_tot: the sum of the agents' values (UPDeT-l, linear), or the attention mixer's (UPDeT-m,
    monotonic). Both are one network for all tasks."""
    mixer: MixerConfig = MixerConfig()
    """The attention mixer."""
    conservative_weight: Annotated[float, Ge(0)] = 5.0
    """Weight of the conservative term (published: 5)."""
    target_update_every: Annotated[int, Ge(1)] = 80
    """Updates, counted over all tasks, after which the targets are copied (published: 80)."""


@schema
class ODISConfig(OfflineSettings):
    """ODIS: skills are discovered first, then a policy over skills is learned."""

    transformer: TransformerConfig = TransformerConfig()
    """Observation encoder and action decoder."""
    mixer: MixerConfig = MixerConfig()
    """The attention mixer; its attention width is the state encoder's too."""
    num_skills: Annotated[int, Ge(2)] = 3
    """Skills (published: 3)."""
    pretrain_share: Annotated[float, Ge(0), Lt(1)] = 0.3
    """Share of max_steps, the first of them, that discovers skills (published: 15,000 updates,
    followed by 35,000 of the policy on SMAC and 40,000 on the grid task)."""
    prior_weight: Annotated[float, Ge(0)] = 1e-3
    """beta, weight of the uniform prior over skills (published: 1e-3)."""
    conservative_weight: Annotated[float, Ge(0)] = 5.0
    """Weight of the conservative term (published: 5)."""
    consistency_weight: Annotated[float, Ge(0)] = 5.0
    """Weight of the term that makes a skill readable from observations (published: 5)."""
    target_update_every: Annotated[int, Ge(1)] = 80
    """Updates of the policy stage after which the targets are copied (published: 80)."""
    bc_mask: Mask = "published"
    """Steps of the decoder's and the consistency term: all, padding too, as the published code
    sums them, or those with a transition only."""


def discovery_updates(config: ODISConfig, num_tasks: int) -> int:
    """Updates of skill discovery: whole rounds over the training tasks."""
    wanted = round(config.pretrain_share * config.max_steps)
    return -(-wanted // num_tasks) * num_tasks


@schema
class HiSSDConfig(OfflineSettings):
    """HiSSD: common skills from a planner, task-specific skills from a contrastive encoder."""

    learning_rate: Annotated[float, Gt(0)] = 1e-4
    """AdamW's rate (published: 1e-4)."""
    weight_decay: Annotated[float, Ge(0)] = 1e-4
    """AdamW's decay (published: 1e-4)."""
    transformer: TransformerConfig = TransformerConfig()
    """All four transformers."""
    mixer: MixerConfig = MixerConfig()
    """The attention mixer; its attention width is the state predictor's too."""
    hidden_width: Annotated[int, Ge(1)] = 128
    """Hidden units of every small net (published: 128)."""
    contrast_weight: Annotated[float, Ge(0)] = 0.05
    """beta, weight of the contrastive term (published: 0.05)."""
    expectile: Annotated[float, Gt(0), Lt(1)] = 0.9
    """epsilon of the value loss (published: 0.9)."""
    advantage_scale: Annotated[float, Ge(0)] = 10.0
    """Scale of the advantage inside the planner's weight (published: 10)."""
    max_weight: Annotated[float, Gt(0)] = 100.0
    """Largest weight of the planner's loss (published: 100)."""
    target_update_every: Annotated[int, Ge(1)] = 80
    """Updates, counted over all tasks, after which the targets are copied (published: 80)."""
    bc_mask: Mask = "published"
    """Steps of the cloning, prediction and contrastive terms: all, padding too, as the published
    code sums them, or those with a transition only."""
