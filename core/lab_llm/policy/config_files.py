"""A model directory's config.json, as it is written and as transformers reads it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labrun.errors import LabError

from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.weight_files import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


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
        raise cannot_load(config.name, path / "config.json", error) from error


def cannot_load(name: str, path: Path, error: Exception | str) -> LabError:
    reason = " ".join(str(error).split()) or repr(error)
    return LabError(f"model {name!r}: cannot load {path}: {reason:.300}")
