"""A tokenizer's chat template: what it renders, within bounds, and what is put before it."""

import re
import resource
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labrun.errors import LabError

from lab_llm.problems import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RENDER_S = 5.0
"""Longest CPU time that one prompt may take to render (seconds)."""
RENDER_BYTES = 2**28
"""Memory that rendering may take besides the process's own (bytes)."""
RENDER_CHARACTERS = 2**24
"""Longest rendered prompt (characters)."""
THINKING = {
    True: "{%- set enable_thinking = true -%}\n",
    False: "{%- set enable_thinking = false -%}\n",
}
"""Choice of thinking -> what is put before the chat template."""
CLOCK = "strftime_now"
DATE_MACRO = re.compile(r"\{% macro strftime_now\(format\) -%\}.*?\{%- endmacro %\}\n")
DIRECTIVES = "aAbBcdDeFhHIjlmMpRSTuUVwWxXyY"
"""The letters of strftime that a template may ask for."""


class _OutOfTimeError(BaseException):
    """No Exception: jinja's folding of constants goes on after each of those."""


class RenderError(LabError):
    """The template cannot render a prompt."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the chat template cannot render a prompt: {reason}")
        self.reason = reason


class EndlessError(RenderError):
    """The template took longer than RENDER_S."""


def render(
    tokenizer: "PreTrainedTokenizerBase",
    prompt: Sequence[Message],
    *,
    add_generation_prompt: bool = True,
    empty_lists: Sequence[str] = (),
) -> str:
    """The chat as text, by default with the header of the assistant's turn.

    `empty_lists` (tools, documents) are given as [] in place of none.

    Raises RenderError where the template fails, or needs more than RENDER_S, RENDER_BYTES or
    RENDER_CHARACTERS.
    """
    template: Any = tokenizer.apply_chat_template
    messages = [dict(message) for message in prompt]
    try:
        with _limited_time(), _limited_memory():
            text = template(
                messages,
                add_generation_prompt=add_generation_prompt,
                tokenize=False,
                **{name: [] for name in empty_lists},
            )
    except _OutOfTimeError as error:
        raise EndlessError(f"it did not end within {RENDER_S:g} s of CPU time") from error
    except MemoryError as error:
        raise RenderError(f"it takes more than {RENDER_BYTES >> 20} MiB of memory") from error
    except Exception as error:  # a template raises what it likes
        raise RenderError(" ".join(str(error).split()) or repr(error)) from error
    if len(text) > RENDER_CHARACTERS:
        raise RenderError(f"it makes {len(text):,} characters; at most {RENDER_CHARACTERS:,}")
    return str(text)


@contextmanager
def _limited_time() -> Iterator[None]:
    """_OutOfTimeError after RENDER_S of CPU time, so that a busy machine refuses no template; no
    bound outside the main thread, which alone has signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise _OutOfTimeError

    began = time.process_time()
    handler = signal.signal(signal.SIGPROF, stop)
    left, interval = signal.setitimer(signal.ITIMER_PROF, RENDER_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)
        if left:  # the timer of whoever called
            rest = max(left - (time.process_time() - began), 0.001)
            signal.setitimer(signal.ITIMER_PROF, rest, interval)


@contextmanager
def _limited_memory() -> Iterator[None]:
    """MemoryError for an allocation beyond what the process has now and RENDER_BYTES."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    wanted = pages * resource.getpagesize() + RENDER_BYTES
    tighter = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([wanted, *tighter]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def turn_end(tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """The special token with which the template ends the assistant's turn; None without one."""
    chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
    try:
        text = render(tokenizer, chat, add_generation_prompt=False)
    except RenderError:
        return None
    call: Any = tokenizer
    ids: list[int] = call(text.rpartition("!")[2].strip(), add_special_tokens=False)["input_ids"]
    known: Any = tokenizer.added_tokens_decoder
    return ids[0] if ids and ids[0] in known and known[ids[0]].special else None


def default_template(tokenizer: "PreTrainedTokenizerBase") -> str:
    """The template that renders a chat without tools; '' where there is none."""
    template: Any = tokenizer.chat_template
    if isinstance(template, Mapping):
        return str(template.get("default") or "")
    return str(template or "")


def plain_template(template: str) -> str:
    """The template without what `prepared_template` put before it."""
    before = next((line for line in THINKING.values() if template.startswith(line)), "")
    return DATE_MACRO.sub("", template.removeprefix(before), count=1)


def prepared_template(template: str, *, thinking: bool | None, today: str) -> str:
    """The template with its variable enable_thinking and its clock set, so that all that render
    it agree; neither is touched where it is not asked for."""
    # A saved model keeps what was chosen; only a new choice replaces it.
    before = next((line for line in THINKING.values() if template.startswith(line)), "")
    line = before if thinking is None else THINKING[thinking]
    plain = plain_template(template)
    clock = _date_macro(date.fromisoformat(today)) if asks_date(plain) else ""
    return line + clock + plain


def asks_date(template: str) -> bool:
    """Whether it mentions the clock of transformers' templates."""
    return CLOCK in template


def _date_macro(today: date) -> str:
    """strftime_now as a macro, so that a saved template gives the same text everywhere."""
    # "%-d" is the day without its zero
    values = {"%-d": str(today.day), "%-m": str(today.month)}
    values |= {f"%{letter}": today.strftime(f"%{letter}") for letter in DIRECTIVES}
    replaced = "".join(f'|replace("{name}", "{value}")' for name, value in values.items())
    return f"{{% macro {CLOCK}(format) -%}}{{{{ format{replaced} }}}}{{%- endmacro %}}\n"
