"""What a model's files say before its weights are loaded."""

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labrun.errors import LabError

from lab_llm.policy import generation_settings
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.config_files import cannot_load, read_config, read_settings
from lab_llm.policy.location import SMOLLM2_INSTALL, NotHereError, fetch_advice, locate
from lab_llm.policy.tokenizer_files import (
    TOKENIZER_FILES,
    load_tokenizer,
    template_file,
    template_place,
)
from lab_llm.policy.weight_files import check_head, quantised, read_weights
from lab_llm.text.chat_template import RenderError, asks_date, default_template, plain_template
from lab_llm.text.template_checks import check_template

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase


def policy_facts(config: PolicyConfig) -> dict[str, object]:
    """Path, number of parameters and context length (tokens), read without loading the weights.

    Also what of its files is set aside: settings of sampling, and today's date in its template.

    Raises LabError where the model is missing, incomplete or damaged, where no token ends its
    completions, or where its chat template cannot serve (`template_checks.check_template`).
    """
    _check_date(config.date)
    path = locate(config)
    facts = _gguf_facts(path, config) if path.suffix == ".gguf" else _dir_facts(path, config)
    return {"model": config.name, "dtype": config.dtype, "path": str(path), **facts}


def _dir_facts(path: Path, config: PolicyConfig) -> dict[str, object]:
    if not path.is_dir():
        raise LabError(f"model {config.name!r}: no such directory: {path}")
    settings = read_settings(path, config.name)
    if "quantization_config" in settings:
        raise quantised(config, str(settings["quantization_config"].get("quant_method", "")))
    weights = read_weights(path, config)
    if not any((path / name).is_file() for name in TOKENIZER_FILES):
        allowed = ", ".join(TOKENIZER_FILES)
        raise NotHereError(
            f"model {config.name!r}: {path} has no tokenizer (one of {allowed}); "
            f"{fetch_advice(config)}"
        )
    read = read_config(path, config)
    if not config.trust_remote_code:
        check_head(weights, read, path, config.name)
    tokenizer = _checked_tokenizer(path, config)
    _check_special_tokens(tokenizer, path, read, config.name)
    text = settings.get("text_config", settings)
    aside = _set_aside(tokenizer, path, config)
    return {
        "parameters": weights.num_parameters,
        "context_length": text.get("max_position_embeddings") or text.get("n_positions"),
        **aside,
    }


def _set_aside(
    tokenizer: "PreTrainedTokenizerBase", path: Path, config: PolicyConfig
) -> dict[str, object]:
    """Settings of the model's files that a run does not follow."""
    aside: dict[str, object] = {}
    if settings := generation_settings.ignored(path):
        aside["ignored"] = settings
    if asks_date(plain_template(default_template(tokenizer))):
        aside["date"] = f"the chat template is told {config.date} (model.date)"
    return aside


def _check_date(value: str) -> None:
    try:
        date.fromisoformat(value)
    except ValueError:
        raise LabError(f"model.date={value!r}; allowed: a date such as 2026-01-01") from None


def _checked_tokenizer(path: Path, config: PolicyConfig) -> "PreTrainedTokenizerBase":
    """The tokenizer. Raises LabError that names the file if its chat template cannot serve."""
    file = next(path / name for name in TOKENIZER_FILES if (path / name).is_file())
    try:
        tokenizer = load_tokenizer(config)
    except LabError:
        raise
    except Exception as error:  # tokenizers raises Exception itself
        raise cannot_load(config.name, file, error) from error
    where = template_place(config)
    try:
        check_template(tokenizer, thinking=config.thinking, where=where)
    except RenderError as error:
        raise cannot_load(config.name, template_file(path), error.reason) from error
    return tokenizer


def _check_special_tokens(
    tokenizer: "PreTrainedTokenizerBase", path: Path, read: "PreTrainedConfig", name: str
) -> None:
    """LabError where the model has no row for its pad token, or for any of its end tokens."""
    size = getattr(read.get_text_config(), "vocab_size", None)
    ends: list[Any] = [*generation_settings.end_tokens(path), tokenizer.eos_token_id]
    if size is None:
        return
    if min(ends) >= size:
        raise LabError(
            f"model {name!r}: its end tokens {sorted(set(ends))} are not among its {size} tokens, "
            f"so that no completion ends; mend eos_token_id in {path / 'config.json'}"
        )
    pad: Any = tokenizer.pad_token_id
    if pad >= size:
        raise LabError(
            f"model {name!r}: its pad token {tokenizer.pad_token!r} is token {pad}, the model has "
            f"{size} tokens; set pad_token in {path / 'tokenizer_config.json'} to one of these"
        )


def _gguf_facts(path: Path, config: PolicyConfig) -> dict[str, object]:
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise LabError(
            f"model {config.name!r}: {path} is damaged (no GGUF header): {SMOLLM2_INSTALL}"
        )
    if config.thinking is not None:
        where = template_place(config)
        check_template(load_tokenizer(config), thinking=config.thinking, where=where)
    return {"size_mib": round(path.stat().st_size / 2**20, 1)}
