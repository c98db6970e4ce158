"""The engines by name: what each needs of machine and model, known before it is opened."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass

from labrun.errors import LabError

from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.config_files import read_config
from lab_llm.policy.location import locate


@dataclass(frozen=True)
class EngineKind:
    """An engine that runs every model. `key` is the setting that names it, in messages."""

    name: str
    package: str = ""
    """The package that it needs besides the toolkit's own; empty: none."""

    def missing(self, *, key: str, instead: str) -> list[str]:
        """What this machine lacks for it; `instead` is the setting of one that is here."""
        if not self.package or importlib.util.find_spec(self.package):
            return []
        return [
            f"{key}={self.name}, but {self.package} is not installed; "
            f"`pip install 'labrun[gpu]'`, or {instead}"
        ]

    def check_model(self, model: PolicyConfig, *, key: str) -> None:
        """Raises LabError where it cannot run the model."""


class DecoderKind(EngineKind):
    """The toolkit's decoder, which knows some architectures."""

    def check_model(self, model: PolicyConfig, *, key: str) -> None:
        path = locate(model)
        if path.suffix == ".gguf":
            return
        from lab_llm.sampling.decoder import check_architecture

        try:
            check_architecture(read_config(path, model))
        except LabError as error:
            raise LabError(
                f"{key}={self.name}, {path / 'config.json'}: {error}; "
                f"use {key}=transformers or vllm"
            ) from error


DECODER = DecoderKind("cpu")
TRANSFORMERS = EngineKind("transformers")
VLLM = EngineKind("vllm", package="vllm")
KINDS: Mapping[str, EngineKind] = {kind.name: kind for kind in (DECODER, TRANSFORMERS, VLLM)}


HOTTEST = 2.0
"""The largest temperature that vLLM takes."""


def check_temperature(temperature: float, *, key: str) -> None:
    """LabError, naming `key`, where vLLM would refuse to sample so."""
    if temperature > HOTTEST:
        raise LabError(f"{key}={temperature:g}: vLLM takes at most {HOTTEST:g}; lower it")


def check_parallel(tensor_parallel: int, *, section: str) -> None:
    """LabError, with the keys of `section`, where a vLLM of its own would be spread over GPUs: a
    process has one."""
    if tensor_parallel > 1:
        raise LabError(
            f"{section}.vllm_tensor_parallel={tensor_parallel}: each process of a run has one GPU "
            "and a vLLM of its own there; use 1"
        )


def missing_engine(name: str, *, section: str) -> list[str]:
    """What this machine lacks for the engine, with the keys of `section`; `auto` lacks nothing."""
    key = f"{section}.engine"
    return KINDS[name].missing(key=key, instead=f"{key}=auto") if name in KINDS else []


def check_engine(name: str, *, section: str) -> None:
    """Raises LabError, with the keys of `section`, where this engine is not installed."""
    missing = missing_engine(name, section=section)
    if missing:
        raise LabError("; ".join(missing))
