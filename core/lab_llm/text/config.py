"""Settings of the teacher's prompt."""

from labrun.errors import LabError
from labrun.schema import schema


@schema
class TeacherPrompt:
    """How a solution enters the prompt of whoever is shown one."""

    teacher_template: str = ""
    """How the solution enters the last user message: a text with {prompt} and {solution}. Empty:
    the form that the model was trained with (the model `tiny`, and what was trained from it, have
    it beside their weights), else the SDPO prompt (arXiv 2601.20802). Both stand in
    `lab_llm/text/prompts.py`."""

    def template_for(self, model: str) -> str:
        """The template; where none is set, that of the model with this name or directory."""
        from lab_llm.text.prompts import teacher_template

        return teacher_template(self.teacher_template, model=model)

    def check_template(self, *, key: str) -> None:
        """Raises LabError, naming `key`, where a placeholder does not stand exactly once."""
        from lab_llm.text.prompts import check_template

        if not self.teacher_template:
            return
        try:
            check_template(self.teacher_template)
        except LabError as error:
            raise LabError(f"{key}: {error}") from error
