"""The methods' teachers: which rollouts each reads, and what it is shown."""

from collections.abc import Mapping

from lab_llm.text.prompts import teacher_template
from lab_llm.training.teacher import Scored, Teacher, distilling_teacher

from lab_rlrt.config import Method, RLRTConfig

SCORED: Mapping[Method, Scored] = {
    "rlsd": "mixed",
    "following": "correct",
    "rlrt": "correct",
    "rlrt_all": "mixed",
}
"""Method -> rollouts whose tokens its teacher scores."""
DISTILLED: tuple[Method, ...] = ("sdpo",)
"""Methods whose loss is the distance to the teacher."""


def template_of(config: RLRTConfig) -> str:
    """How a solution enters the teacher's prompt."""
    return teacher_template(config.teacher_template, model=config.model.name)


def teacher_of(config: RLRTConfig) -> Teacher | None:
    """The teacher of the method; None for a method without one."""
    context, template = config.teacher_context, template_of(config)
    if config.credit in DISTILLED:
        return distilling_teacher(config.distillation, context=context, template=template)
    if config.credit in SCORED:
        return Teacher(context=context, template=template, scored=SCORED[config.credit])
    return None
