"""What a chat template must tell apart before a run may use it."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from labrun.errors import LabError

from lab_llm.problems import Message, Problem
from lab_llm.text.chat_template import (
    EndlessError,
    RenderError,
    default_template,
    plain_template,
    prepared_template,
    render,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

QUESTIONS = ("What is 6 times 7?", "Name a prime number above 90.")
ANSWER = "Forty-two."
SYSTEM: Message = {"role": "system", "content": "Be brief."}
DRAWS = re.compile(r"\|\s*random\b|\blipsum\b")
"""What makes a jinja template draw random numbers."""
MANY = 16
"""Renderings that must be equal where a template may draw at random (count)."""


def check_template(
    tokenizer: "PreTrainedTokenizerBase", *, thinking: bool | None, where: str
) -> None:
    """LabError where the tokenizer's template, which stands in `where`, cannot serve a run.

    It must render a question, with a system message or without, render it again alike, two
    questions apart, the header of the assistant's turn, and `thinking` true and false apart.
    """
    asked = _first_that_renders(tokenizer)
    prompt = render(tokenizer, asked)
    if any(render(tokenizer, asked) != prompt for _ in range(_repeats(tokenizer))):
        raise LabError(f"{where} renders one prompt in several ways, at random; mend it")
    if render(tokenizer, _with_question(asked, QUESTIONS[1])) == prompt:
        raise LabError(
            f"{where} renders the same prompt for different questions; it must print the content "
            "of every message"
        )
    if not _opens_turn(tokenizer, asked, prompt):
        raise LabError(
            f"{where} does not open the assistant's turn: add_generation_prompt changes nothing; "
            "put the header of that turn at its end, in {% if add_generation_prompt %}"
        )
    if thinking is not None:
        chats = [[*system, *_chat(QUESTIONS[0])] for system in ([], [SYSTEM])]
        _check_thinking(tokenizer, chats, where, thinking=thinking)


def _chat(question: str) -> list[Message]:
    return [{"role": "user", "content": question}]


def _with_question(chat: Sequence[Message], question: str) -> list[Message]:
    return [*chat[:-1], {"role": "user", "content": question}]


def _first_that_renders(tokenizer: "PreTrainedTokenizerBase") -> list[Message]:
    """A question; after a system message if the template needs one."""
    alone = _chat(QUESTIONS[0])
    try:
        render(tokenizer, alone)
    except EndlessError:
        raise
    except RenderError as error:
        if not _renders(tokenizer, [SYSTEM, *alone]):
            raise RenderError(f"{error.reason}{_missing_tools(tokenizer, alone)}") from error
        return [SYSTEM, *alone]
    return alone


def _renders(
    tokenizer: "PreTrainedTokenizerBase",
    chat: Sequence[Message],
    *,
    empty_lists: Sequence[str] = (),
) -> bool:
    try:
        render(tokenizer, chat, empty_lists=empty_lists)
    except RenderError:
        return False
    return True


def _missing_tools(tokenizer: "PreTrainedTokenizerBase", chat: Sequence[Message]) -> str:
    """What to change, where the template renders as soon as there are lists of tools."""
    for name in ("tools", "documents"):
        if name in default_template(tokenizer) and _renders(tokenizer, chat, empty_lists=[name]):
            return f"; {name} is none in a run: write `({name} or [])` in place of `{name}`"
    return ""


def _repeats(tokenizer: "PreTrainedTokenizerBase") -> int:
    return MANY if DRAWS.search(default_template(tokenizer)) else 1


def _opens_turn(tokenizer: "PreTrainedTokenizerBase", chat: Sequence[Message], prompt: str) -> bool:
    """Whether the prompt ends where the assistant's answer begins.

    Templates like `[INST] question [/INST]` do without add_generation_prompt: there a chat with an
    answer goes on from the prompt with the answer itself.
    """
    if render(tokenizer, chat, add_generation_prompt=False) != prompt:
        return True
    if _reads_header(tokenizer, chat):
        return True
    answered = [*chat, {"role": "assistant", "content": ANSWER}]
    try:
        whole = render(tokenizer, answered, add_generation_prompt=False)
    except RenderError:
        return False
    before = prompt.rstrip()
    return whole.startswith(before) and whole[len(before) :].lstrip().startswith(ANSWER)


def _reads_header(tokenizer: "PreTrainedTokenizerBase", chat: Sequence[Message]) -> bool:
    """Whether add_generation_prompt changes the prompt where thinking is chosen."""
    with_header, without = (
        {_switched(tokenizer, chat, thinking=value, header=header) for value in (True, False)}
        for header in (True, False)
    )
    return with_header != without


def _switched(
    tokenizer: "PreTrainedTokenizerBase",
    chat: Sequence[Message],
    *,
    thinking: bool,
    header: bool = True,
) -> str:
    """The chat as it is rendered with this choice of thinking."""
    before = tokenizer.chat_template
    # the fixed clock is left out: it is the same for both
    plain = plain_template(default_template(tokenizer))
    tokenizer.chat_template = prepared_template(plain, thinking=thinking, today="2000-01-01")
    try:
        return render(tokenizer, chat, add_generation_prompt=header)
    finally:
        tokenizer.chat_template = before


def _check_thinking(
    tokenizer: "PreTrainedTokenizerBase",
    chats: Sequence[Sequence[Message]],
    where: str,
    *,
    thinking: bool,
) -> None:
    """LabError where thinking true and false render every chat alike."""
    possible = [chat for chat in chats if _renders(tokenizer, chat)]
    on, off = (
        [_switched(tokenizer, chat, thinking=value) for chat in possible] for value in (True, False)
    )
    if on == off:
        known = "enable_thinking" in plain_template(default_template(tokenizer))
        why = (
            "renders the same for true and false: it does not read enable_thinking"
            if known
            else "has no variable enable_thinking"
        )
        raise LabError(
            f"model.thinking={str(thinking).lower()}: {where} {why}; leave model.thinking=null"
        )


def check_prompts(
    tokenizer: "PreTrainedTokenizerBase",
    sets: Mapping[str, Sequence[Problem]],
    *,
    thinking: bool | None,
    where: str,
) -> None:
    """LabError where the template, which stands in `where`, cannot render the sets' prompts.

    Of each set the first prompts of each order of roles are rendered. A system message must change
    the prompt, two problems must give two prompts, and `thinking` must change them.
    """
    for name, problems in sets.items():
        for alike in _by_roles(problems).values():
            _check_alike(tokenizer, alike, f"{where}, {name}")
            if thinking is not None:
                chats = [problem.prompt for problem in alike]
                _check_thinking(tokenizer, chats, where, thinking=thinking)


def _by_roles(problems: Sequence[Problem]) -> dict[tuple[str, ...], list[Problem]]:
    """For each order of roles up to two problems with different prompts."""
    found: dict[tuple[str, ...], list[Problem]] = {}
    for problem in problems:
        alike = found.setdefault(tuple(message["role"] for message in problem.prompt), [])
        if not alike or (len(alike) < 2 and _words(alike[0]) != _words(problem)):
            alike.append(problem)
    return found


def _words(problem: Problem) -> list[str]:
    """What is asked; a template may trim it."""
    return [message["content"].strip() for message in problem.prompt]


def _check_alike(
    tokenizer: "PreTrainedTokenizerBase", problems: Sequence[Problem], where: str
) -> None:
    """LabError where problems with the same roles are not rendered, each with all its roles."""
    first = problems[0]
    try:
        rendered = [render(tokenizer, problem.prompt) for problem in problems]
    except RenderError as error:
        raise _refused_roles(tokenizer, first, error, where) from error
    if len(set(rendered)) < len(problems):
        raise LabError(
            f"{where}: problems {first.id} and {problems[1].id} have the same prompt; the chat "
            "template must print the content of every message"
        )
    others = [message for message in first.prompt if message["role"] != "system"]
    told = [message["content"].strip() for message in first.prompt if message["role"] == "system"]
    hidden = any(text not in rendered[0] for text in told) and _renders(tokenizer, others)
    if hidden and render(tokenizer, others) == rendered[0]:
        raise LabError(
            f"{where}: the chat template leaves out the system message of {first.id}; set "
            "dataset.system_prompt=null (or drop it from the rows), or mend the template"
        )


def _refused_roles(
    tokenizer: "PreTrainedTokenizerBase", problem: Problem, error: RenderError, where: str
) -> LabError:
    others = [message for message in problem.prompt if message["role"] != "system"]
    roles = ", ".join(message["role"] for message in problem.prompt)
    change = "take other problems, or mend the template"
    if len(others) < len(problem.prompt) and _renders(tokenizer, others):
        change = (
            "set dataset.system_prompt=null (or drop the rows' system messages), or take a model "
            "that knows system messages"
        )
    elif len(others) == len(problem.prompt) and _renders(tokenizer, [SYSTEM, *others]):
        change = "the template wants a system message: set dataset.system_prompt"
    return LabError(
        f"{where}: the chat template cannot render the prompt of {problem.id} ({roles}): "
        f"{error.reason:.300}; {change}"
    )
