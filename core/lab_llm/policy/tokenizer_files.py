"""The tokenizer of a model, with its end and pad tokens and its chat template."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labrun.errors import LabError

from lab_llm.policy import generation_settings
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.location import locate
from lab_llm.policy.weight_files import read_json
from lab_llm.text.chat_template import default_template, prepared_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")
"""Where a chat template stands, the file that wins first."""


def load_tokenizer(config: PolicyConfig) -> "PreTrainedTokenizerBase":
    """The policy's tokenizer alone, with its end and pad tokens and its chat template as
    `config` wants it.

    Raises LabError where `locate` does, and where the tokenizer has no chat template.
    """
    from transformers import AutoTokenizer

    path = locate(config)
    source: Any = AutoTokenizer
    if path.suffix == ".gguf":
        tokenizer = source.from_pretrained(path.parent, gguf_file=path.name)
    else:
        trust = config.trust_remote_code
        tokenizer = source.from_pretrained(path, local_files_only=True, trust_remote_code=trust)
        _set_end_token(tokenizer, path, config.name)
        set_padding(tokenizer)
    template = default_template(tokenizer) or _legacy_template(path, config.name)
    if not template:
        raise _no_template(config.name, path)
    # One template in place of named ones: nothing here renders tools.
    tokenizer.chat_template = prepared_template(
        template, thinking=config.thinking, today=config.date
    )
    return tokenizer


def template_place(config: PolicyConfig) -> str:
    """The chat template and its file, in the words of a message."""
    return f"the chat template of model {config.name!r} ({template_file(locate(config))})"


def template_file(path: Path) -> Path:
    if path.suffix == ".gguf":
        return path
    for name in TEMPLATE_FILES[:-1]:
        if (path / name).is_file():
            return path / name
    return path / TEMPLATE_FILES[-1]


def _legacy_template(path: Path, name: str) -> str:
    """What chat_template.json holds, which transformers reads for processors only."""
    file = path / "chat_template.json"
    value = read_json(file, name).get("chat_template") if file.is_file() else None
    if isinstance(value, list):
        value = {entry.get("name"): entry.get("template") for entry in value}
    if isinstance(value, Mapping):
        value = value.get("default")
    return value if isinstance(value, str) else ""


def _set_end_token(tokenizer: Any, path: Path, name: str) -> None:
    """Let a tokenizer without an end token have the model's."""
    if tokenizer.eos_token_id is not None:
        return
    for token in generation_settings.end_tokens(path):
        text = tokenizer.convert_ids_to_tokens(token) if token < len(tokenizer) else None
        if text is not None:
            tokenizer.eos_token = text
            return
    raise LabError(
        f"model {name!r}: no token ends a completion: {path} names none in tokenizer_config.json "
        "(eos_token), generation_config.json or config.json (eos_token_id) that its tokenizer "
        "knows; write it there"
    )


def set_padding(tokenizer: Any) -> None:
    """Pad on the left and, without a pad token, with the end token."""
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"


def _no_template(name: str, path: Path) -> LabError:
    return LabError(
        f"model {name!r}: its tokenizer has no chat template; take an instruction-tuned model "
        f"or put a chat_template.jinja into {path if path.is_dir() else path.parent}"
    )
