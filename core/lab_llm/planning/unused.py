"""Settings of a GRPO run that change nothing beside other ones."""

from collections.abc import Iterable, Mapping
from dataclasses import fields

from lab_llm.training.config import Context, GRPOSettings, TeacherSettings
from lab_llm.training.distillation_config import DistillationConfig

CLIP = ("epsilon", "epsilon_high", "dual_clip")
"""Keys of the importance ratio."""
SURROGATE = (
    *CLIP,
    "loss_type",
    "scale_rewards",
    "vllm_importance_sampling",
    "vllm_importance_clip",
)
"""Keys that only the surrogate reads."""
TEACHER = ("teacher_context", "teacher_copy_every", "teacher_offload")
"""Keys of a teacher of any kind."""


def unused(
    settings: GRPOSettings,
    *,
    method: str,
    context: Context | None,
    distillation: DistillationConfig | None,
) -> dict[str, str]:
    """Key -> the setting beside which it changes nothing.

    `method` is the word that chose the objective, such as `trainer.credit=grpo`; `context` and
    `distillation` are those of `lab_llm.planning.grpo.plan`.
    """
    found: dict[str, str] = {}
    if settings.num_minibatches == 1 and settings.sampler != "vllm":
        # one update of each batch: the ratio is p / p
        found |= dict.fromkeys(CLIP, "trainer.num_minibatches=1")
    if isinstance(settings, TeacherSettings):
        if context is None:
            found |= dict.fromkeys(TEACHER, method)
        if distillation is None:
            found |= _below("distillation", _names(DistillationConfig), method)
        else:
            found |= _beside(distillation, context)
    return found


def _beside(distillation: DistillationConfig, context: Context | None) -> dict[str, str]:
    """What has no part in this self-distillation."""
    found: dict[str, str] = {}
    if distillation.weight == 1:
        found |= dict.fromkeys(SURROGATE, "trainer.distillation.weight=1")
    if distillation.teacher != "ema":
        which = f"trainer.distillation.teacher={distillation.teacher}"
        found |= _below("distillation", ("ema_rate", "ema_every"), which)
    if distillation.top_k == 0:
        found |= _below("distillation", ("tail",), "trainer.distillation.top_k=0")
    if context != "sibling":
        which = f"trainer.teacher_context={context}"
        found |= _below("distillation", ("dont_reprompt_on_self_success",), which)
    return found


def _below(section: str, keys: Iterable[str], reason: str) -> Mapping[str, str]:
    return {f"{section}.{key}": reason for key in keys}


def _names(schema: type[DistillationConfig]) -> list[str]:
    return [field.name for field in fields(schema)]
