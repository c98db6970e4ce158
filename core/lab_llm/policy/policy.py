"""A policy: a causal language model with its tokenizer, out of a directory or a cache."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labrun.plan import Setup

from lab_llm.policy import generation_settings
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.config_files import cannot_load, read_config
from lab_llm.policy.facts import policy_facts
from lab_llm.policy.location import locate
from lab_llm.policy.tokenizer_files import load_tokenizer, set_padding
from lab_llm.text.chat_template import turn_end
from lab_llm.text.prompts import TEMPLATE_FILE

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from lab_llm.policy.engine import Engine


@dataclass(frozen=True)
class Policy:
    """A model and the tokenizer it was trained with; the tokenizer has a chat template and pads."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    engine: "Engine | None" = None
    """What samples from it fastest, where something already holds these weights."""
    products: str | None = None
    """Precision of its products, where that is another than its weights'. An engine computes in
    it."""
    trusts_code: bool = False
    """Whether Python code that came with the model may run, in an engine too."""

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
    the run's to say. Raises LabError where `policy_facts` does, and where transformers cannot
    read the files.
    """
    policy_facts(config)
    path = locate(config)
    try:
        policy = _load_gguf(path, config) if path.suffix == ".gguf" else _load_dir(path, config)
    except (OSError, ValueError, RuntimeError) as error:
        raise cannot_load(config.name, path, error) from error
    model, pad = policy.model, policy.tokenizer.pad_token_id
    model.config.pad_token_id = pad
    if model.generation_config is not None:
        model.generation_config.pad_token_id = pad
    model.eval()
    return policy


def _load_dir(path: Path, config: PolicyConfig) -> Policy:
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(config)
    ends = generation_settings.end_tokens(path) or (_end_token(tokenizer),)
    # a base model names the end of a text, and its template ends turns with another token
    turn = turn_end(tokenizer)
    ends = ends if turn is None or turn in ends else (*ends, turn)
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
    return Policy(model=model, tokenizer=tokenizer, trusts_code=config.trust_remote_code)


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
    set_padding(tokenizer)
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
