"""The methods' teachers: which rollouts each reads, and what it is shown."""

from collections.abc import Mapping

from lab_llm.training.teacher import Scored, Teacher, distilling_teacher

from lab_rlrt.config import Method, RLRTConfig

SCORED: Mapping[Method, Scored] = {
    "rlsd": "mixed",
    "following": "correct",
    "rlrt": "correct",
    "rlrt_all": "mixed",
    "iw_opd": "every",
    "dasd": "every",
}
"""Method -> rollouts whose tokens its teacher scores."""
DISTILLED: tuple[Method, ...] = ("sdpo",)
"""Methods whose loss is the distance to the teacher."""


def teacher_of(config: RLRTConfig) -> Teacher | None:
    """The teacher of the method; None for a method without one."""
    if config.credit in DISTILLED:
        return distilling_teacher(config)
    if config.credit in SCORED:
        context, scored = config.teacher_context, SCORED[config.credit]
        return Teacher(context=context, template=config.template, scored=scored)
    return None
