"""Chats as data sets write them, and the messages that they stand for."""

import json
from collections.abc import Mapping
from typing import Any

from labrun.errors import LabError

from lab_llm.datasets.gold_text import is_blank
from lab_llm.datasets.json_text import UnfitJSONError, check_characters, too_deep
from lab_llm.problems import Message

SPEAKERS = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "system": "system",
}
"""Who speaks in a ShareGPT message (`from`) -> role."""
FORMS = "text or a list of messages with role and content, or with from and value (ShareGPT)"


def messages_of(value: object, *, where: str) -> list[Message] | None:
    """The messages of a chat, or of a text that holds one in JSON; None where it is no chat.

    Raises LabError, naming `where`, for a speaker or a part of a message that is not known.
    """
    if isinstance(value, str):
        value = _json_list(value)
    if not isinstance(value, list) or not value:
        return None
    if not all(map(_is_message, value)):
        return None
    messages = [_message(message, where) for message in value]
    try:
        check_characters(messages)
    except UnfitJSONError as error:
        raise LabError(f"{where} {error}") from error
    return messages


def _json_list(text: str) -> object:
    """Problems may begin with a bracket of their own ([asy], an interval): no JSON, no list."""
    if not text.lstrip().startswith("[") or too_deep(text):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None


def _is_message(value: object) -> bool:
    return isinstance(value, Mapping) and (
        _has(value, "role", "content") or _has(value, "from", "value")
    )


def _has(message: Mapping[str, Any], who: str, said: str) -> bool:
    return isinstance(message.get(who), str) and isinstance(message.get(said), str | list)


def _message(message: Mapping[str, Any], where: str) -> Message:
    if _has(message, "role", "content"):
        return {"role": message["role"], "content": _content(message["content"], where)}
    speaker = message["from"]
    if speaker not in SPEAKERS:
        raise LabError(
            f"{where}: a message is from {speaker!r:.40}; allowed: {', '.join(SPEAKERS)}; "
            "rename the speaker, or drop the row"
        )
    return {"role": SPEAKERS[speaker], "content": _content(message["value"], where)}


def _content(content: str | list[Any], where: str) -> str:
    """The text of a message, its parts joined as chat templates join them: by nothing."""
    return content if isinstance(content, str) else "".join(_part(p, where) for p in content)


def _part(part: object, where: str) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else None
    text = part.get("text") if isinstance(part, Mapping) else None
    if kind != "text" or not isinstance(text, str):
        raise LabError(
            f"{where}: a part of a message is {f'of type {kind!r:.40}' if kind else repr(part):.80}"
            '; allowed: {"type": "text", "text": ...}; drop the row'
        )
    return text


def last_said(value: object, *, where: str) -> str | None:
    """What the assistant says at the end of a chat; None where no assistant ends one."""
    messages = messages_of(value, where=where) if isinstance(value, list | str) else None
    if not messages or messages[-1]["role"] != "assistant":
        return None
    return messages[-1]["content"]


def messages_asked(value: object, *, where: str) -> list[Message]:
    """The messages that a prompt stands for. Raises LabError, naming `where`, where it is none."""
    messages = messages_of(value, where=where)
    if messages is None and isinstance(value, str) and not is_blank(value):
        return [{"role": "user", "content": value}]
    if messages is None:
        raise LabError(f"{where}: a prompt is {FORMS}; not {value!r:.80}")
    return messages
