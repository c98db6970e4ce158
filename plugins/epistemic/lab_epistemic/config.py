"""Settings of the on-policy studies."""

from typing import Annotated, Literal

from annotated_types import Ge
from lab_llm.text.epistemic_words import EPISTEMIC_WORDS, Words
from lab_llm.training.config import TeacherSettings
from labrun import schema


@schema
class EpistemicConfig(TeacherSettings):
    """Self-distillation on the student's own rollouts, and GRPO beside it."""

    prompts_per_step: Annotated[int, Ge(1)] = 16
    """Prompts of one batch of rollouts, all processes together (count; arXiv 2603.24472: 256, and
    64 for small sets)."""
    objective: Literal["sdpo", "grpo"] = "sdpo"
    """sdpo: the distance to a teacher that is shown a solution; grpo: the policy gradient."""
    teacher_context: Literal["sibling", "reference_solution"] = "sibling"
    """Where the teacher's solution comes from: another correct rollout of the group, or the
    dataset, whose problems must then have solutions. `distillation.richness` says how much of it
    the teacher is shown."""
    words: Words = EPISTEMIC_WORDS
    """What is counted while training, in epistemic_words and epistemic_count."""
