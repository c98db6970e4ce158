"""What a configuration makes of the credit."""

import pytest
from lab_llm.datasets import RowsDataset
from lab_llm.datasets_config import RowsConfig
from lab_llm.policy_config import PolicyConfig
from lab_llm.templates import COUNTDOWN_TEMPLATE, SOLUTION_TEMPLATE
from lab_rlrt.config import RLRTConfig
from lab_rlrt.credit import make_credit
from lab_rlrt.trainer import RLRTTrainer
from labrun import LabError
from labrun.config import compose
from labrun.parts import build


def template(**settings):
    return make_credit(RLRTConfig(**settings)).template


def test_the_countdown_template_is_the_tiny_models_alone():
    assert template() == COUNTDOWN_TEMPLATE
    assert template(model=PolicyConfig(name="smollm2")) == SOLUTION_TEMPLATE
    assert template(teacher_template="{solution}{prompt}") == "{solution}{prompt}"


def test_a_template_without_its_placeholders_is_refused_by_key():
    dataset = RowsDataset(RowsConfig())
    with pytest.raises(LabError, match=r"trainer\.teacher_template: .* must hold {solution} once"):
        RLRTTrainer(RLRTConfig(teacher_template="{prompt}")).preflight(dataset)


@pytest.mark.parametrize(("teacher", "holds_a_copy"), [("frozen", True), ("live", False)])
def test_the_estimate_of_memory_counts_sdpos_own_teacher(teacher, holds_a_copy):
    experiment = compose(["plugin=rlrt", "method=sdpo", f"distillation.teacher={teacher}"])
    parts = build(experiment)
    facts = parts.trainer.preflight(parts.dataset)
    assert ("copies" in str(facts["gpu_memory_gib, 1 process"])) == holds_a_copy
