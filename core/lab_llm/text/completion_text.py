"""The one text of a completion: what is rewarded, shown to a teacher, counted and written down."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from lab_llm.problems import THINK_END, THINK_START
from lab_llm.text.chat_template import RenderError, render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MARK = re.compile(r"\W*(?:\w+:)?(?:begin_of_|end_of_)?(?:think|thinking|thought|reasoning)\W*")
"""A special token that marks thinking, such as <think>, [/THINK], <|thinking|> or
<|begin_of_thought|>."""
TAIL = 32
"""Tokens of a prompt's end in which an open <think> is looked for (count)."""
OPENED = f"{THINK_START}\n"
"""How a completion's text begins if its prompt opened the thinking."""


@dataclass(frozen=True)
class _Decoder:
    """What one tokenizer's completions need."""

    dropped: frozenset[int]
    """Special tokens that are no marks of thinking; empty where none is such a mark."""
    prefilled: str
    """What a chat template writes after the <think> that it opens; '' if nothing."""


_DECODERS: "WeakKeyDictionary[PreTrainedTokenizerBase, _Decoder]" = WeakKeyDictionary()


def completion_text(
    tokenizer: "PreTrainedTokenizerBase",
    completion_ids: Sequence[int],
    *,
    prompt_ids: Sequence[int] = (),
) -> str:
    """The text of a completion's token ids, its end token included.

    Special tokens are left out, but for those that mark thinking. Where the prompt ends inside an
    open <think>, the text begins with it, so that a reader sees that thinking is open.
    """
    decoder = _decoder(tokenizer)
    ids = list(completion_ids)
    if decoder.dropped:
        ids = [token for token in ids if token not in decoder.dropped]
    text = str(tokenizer.decode(ids, skip_special_tokens=not decoder.dropped))
    opened = len(prompt_ids) > 0 and _opens_thinking(tokenizer, prompt_ids, decoder.prefilled)
    return OPENED + text if opened and not text.lstrip().startswith(THINK_START) else text


def _opens_thinking(
    tokenizer: "PreTrainedTokenizerBase", prompt_ids: Sequence[int], prefilled: str
) -> bool:
    """Whether the prompt ends with <think>, or with that and what the template puts behind it."""
    length = TAIL + len(prefilled)  # a token holds a character at least
    end = str(tokenizer.decode(list(prompt_ids[-length:]), skip_special_tokens=False)).rstrip()
    return end.removesuffix(prefilled.rstrip()).rstrip().endswith(THINK_START)


def _decoder(tokenizer: "PreTrainedTokenizerBase") -> _Decoder:
    if tokenizer not in _DECODERS:
        _DECODERS[tokenizer] = _Decoder(_dropped(tokenizer), _prefilled(tokenizer))
    return _DECODERS[tokenizer]


def _dropped(tokenizer: "PreTrainedTokenizerBase") -> frozenset[int]:
    added: Any = tokenizer.added_tokens_decoder
    special = {token: str(entry) for token, entry in added.items() if entry.special}
    named = (tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.bos_token_id)
    marks = {t for t, text in special.items() if MARK.fullmatch(text.lower()) and t not in named}
    if not marks:
        return frozenset()
    return frozenset({*special, *tokenizer.all_special_ids} - marks)


def _prefilled(tokenizer: "PreTrainedTokenizerBase") -> str:
    """What stands behind the <think> that the header of the assistant's turn leaves open."""
    try:
        prompt = render(tokenizer, [{"role": "user", "content": "?"}])
    except RenderError:
        return ""
    _, opened, behind = prompt.rpartition(THINK_START)
    return behind if opened and THINK_END not in behind else ""
