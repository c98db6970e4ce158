"""Prompts as a teacher sees them, and as token ids."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labrun.errors import LabError

from lab_llm.problems import Message, Problem
from lab_llm.text.chat_template import render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

COUNTDOWN_TEMPLATE = "{prompt}\nref: {solution}"
SOLUTION_TEMPLATE = (
    "{prompt}\nCorrect solution:\n\n{solution}\n\nCorrectly solve the original question."
)
"""SDPO's, as its published code has it: one line break after the prompt."""
TEMPLATE_TOKENS = 512
"""More than the chat templates of models put around a prompt (tokens)."""
TEMPLATE_FILE = "teacher_template.txt"
"""File beside a model's weights: the teacher template that the model was trained with."""


def teacher_template(given: str, *, model: str) -> str:
    """`given`; if it is empty, the template that the model of this name or directory knows.

    That is COUNTDOWN_TEMPLATE for `tiny`; what stands in TEMPLATE_FILE for a directory that has
    it, as a run leaves it beside the model; else SOLUTION_TEMPLATE, the SDPO prompt
    (arXiv 2601.20802).
    """
    if given:
        return given
    if model == "tiny":
        return COUNTDOWN_TEMPLATE
    file = Path(model).expanduser() / TEMPLATE_FILE
    return file.read_text(encoding="utf-8") if file.is_file() else SOLUTION_TEMPLATE


def with_solution(prompt: Sequence[Message], solution: str, template: str) -> list[Message]:
    """The prompt with its last message, the user's, put into `template` beside the solution.

    Braces in the prompt or the solution are text.

    Raises LabError where the template lacks a placeholder or the last message isn't the user's.
    """
    check_template(template)
    if not prompt or prompt[-1]["role"] != "user":
        role = repr(prompt[-1]["role"]) if prompt else "none"
        raise LabError(f"the last message of a prompt must come from the user; it is {role}")
    asked = prompt[-1]["content"]
    before, after = template.split("{prompt}", 1)
    # Each half is filled on its own, so that a placeholder inside the prompt stays text.
    content = before.replace("{solution}", solution) + asked + after.replace("{solution}", solution)
    return [*prompt[:-1], {**prompt[-1], "content": content}]


def check_template(template: str) -> None:
    """Raises LabError where `{prompt}` or `{solution}` does not stand exactly once."""
    for placeholder in ("{prompt}", "{solution}"):
        if (count := template.count(placeholder)) != 1:
            raise LabError(
                f"a teacher template must hold {placeholder} once, not {count} times: {template!r}"
            )


def most_tokens(chat: Sequence[Message]) -> int:
    """An upper bound of a chat's tokens, since a token holds a byte at least.

    These are the bytes of the text, and what a chat template may put around it.
    """
    return TEMPLATE_TOKENS + sum(len(message["content"].encode()) for message in chat)


def with_short_prompts(
    tokenizer: "PreTrainedTokenizerBase", problems: Sequence[Problem], *, longest: int | None
) -> Sequence[Problem]:
    """The problems whose prompts have at most `longest` tokens (None: all of them)."""
    if longest is None:
        return problems
    return [
        problem
        for problem in problems
        if most_tokens(problem.prompt) <= longest
        or len(encode(tokenizer, problem.prompt)) <= longest
    ]


def encode(tokenizer: "PreTrainedTokenizerBase", prompt: Sequence[Message]) -> list[int]:
    """The token ids of the chat, with the header of the assistant's turn.

    Raises RenderError where the chat template cannot render it.
    """
    call: Any = tokenizer
    return list(call(render(tokenizer, prompt), add_special_tokens=False)["input_ids"])
