"""Settings of the on-policy studies."""

from typing import Annotated, Literal

from annotated_types import Ge
from lab_llm.text.epistemic_words import EPISTEMIC_WORDS, Words
from lab_llm.training.config import GRPOSettings
from lab_llm.training.distillation_config import DistillationConfig
from labrun import schema


@schema
class EpistemicConfig(GRPOSettings):
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
    teacher_template: str = ""
    """How that enters the last user message, with {prompt} and {solution}. Empty: for the model
    `tiny`, and what was trained from it, the form that it was warm-started with, for all others
    the SDPO prompt (arXiv 2601.20802); both stand in `lab_llm/text/prompts.py`."""
    distillation: DistillationConfig = DistillationConfig()
    """The loss and the teacher of sdpo."""
    words: Words = EPISTEMIC_WORDS
    """What is counted while training, in epistemic_words and epistemic_count."""
