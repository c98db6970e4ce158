"""The teacher's prompt: a template that is set, or the model's own."""

import pytest
from lab_llm.text.config import TeacherPrompt
from lab_llm.text.prompts import COUNTDOWN_TEMPLATE, SOLUTION_TEMPLATE, TEMPLATE_FILE
from labrun.errors import LabError


def test_an_empty_template_is_the_models_own(tmp_path):
    assert TeacherPrompt().template_for("tiny") == COUNTDOWN_TEMPLATE
    assert TeacherPrompt().template_for("org/model") == SOLUTION_TEMPLATE
    (tmp_path / TEMPLATE_FILE).write_text("{prompt} so {solution}")
    assert TeacherPrompt().template_for(str(tmp_path)) == "{prompt} so {solution}"
    given = TeacherPrompt(teacher_template="{solution} for {prompt}")
    assert given.template_for("tiny") == "{solution} for {prompt}"


def test_a_template_without_a_placeholder_is_refused_by_its_key():
    TeacherPrompt().check_template(key="a.b")
    with pytest.raises(LabError, match=r"^a\.b: .* must hold \{solution\} once, not 0 times"):
        TeacherPrompt(teacher_template="{prompt}").check_template(key="a.b")
