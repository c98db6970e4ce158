"""Special tokens that a model's files name, and their settings of sampling, which do not act."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labrun.errors import LabError

if TYPE_CHECKING:
    from transformers import GenerationConfig

GENERATION_FILE = "generation_config.json"
NO_SETTINGS = frozenset(
    {
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "decoder_start_token_id",
        "use_cache",
        "output_attentions",
        "output_hidden_states",
        "output_scores",
        "output_logits",
        "return_dict_in_generate",
        "transformers_version",
        "transformers_weights",
        "custom_generate",
        "_from_model_config",
    }
)
"""Entries that change no sampled token, or only say which tokens are special."""


def special_token(path: Path, name: str) -> Any:
    """What the model in directory `path` has for `name` (bos_token_id, eos_token_id): its
    generation_config.json's or else its config.json's; None where neither has one."""
    config = _read(path / "config.json")
    places = (_read(path / GENERATION_FILE), config, config.get("text_config"))
    listed = [place.get(name) for place in places if isinstance(place, Mapping)]
    return next((value for value in listed if value not in (None, [])), None)


def end_tokens(path: Path) -> tuple[int, ...]:
    """The token ids that end a completion by the model's own files, in their order."""
    value = special_token(path, "eos_token_id")
    listed = value if isinstance(value, list) else [] if value is None else [value]
    if not all(type(token) is int and token >= 0 for token in listed):
        raise LabError(
            f"{path}: eos_token_id={value!r:.80} in {GENERATION_FILE} or config.json; allowed: a "
            "token id, or a list of these"
        )
    return tuple(listed)


def ignored(path: Path) -> str:
    """The settings of sampling in the model's files, which a run leaves aside for its own; ''
    where there are none."""
    from transformers import GenerationConfig

    default = GenerationConfig()
    known = set(default.to_dict()) | set(default._get_default_generation_params())
    own = _settings(_read(path / GENERATION_FILE))
    legacy = {k: v for k, v in _settings(_read(path / "config.json")).items() if k in known}
    parts = {GENERATION_FILE: own, "config.json": legacy}
    return "; ".join(
        f"{file}: " + ", ".join(f"{name}={value!r:.60}" for name, value in found.items())
        for file, found in parts.items()
        if found
    )


def _settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the values that would change what is sampled."""
    from transformers import GenerationConfig

    usual = GenerationConfig._get_default_generation_params()
    return {
        name: value
        for name, value in values.items()
        if name not in NO_SETTINGS and value is not None and value != usual.get(name)
    }


def _read(path: Path) -> Mapping[str, Any]:
    """The file's object; empty where there is no such file."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise LabError(f"{path} is damaged: {error}; copy or download it again") from error
    if not isinstance(value, dict):
        raise LabError(f"{path} is damaged: no JSON object; copy or download it again")
    return value


def only_tokens(bos: int | None, eos: Sequence[int], pad: int | None) -> "GenerationConfig":
    """A generation config that names the special tokens and sets nothing else."""
    from transformers import GenerationConfig

    return GenerationConfig(
        bos_token_id=bos,
        eos_token_id=eos[0] if len(eos) == 1 else list(eos) or None,
        pad_token_id=pad,
    )
