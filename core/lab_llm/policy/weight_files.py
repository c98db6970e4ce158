"""A model directory's safetensors files, judged by their headers alone."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labrun.errors import LabError

from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.location import NotHereError, fetch_advice

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

HEADS = frozenset({"lm_head", "embed_out", "output", "output_layer"})
"""Names under which models keep their output layer."""


@dataclass(frozen=True)
class Weights:
    """What the headers say."""

    num_parameters: int
    names: frozenset[str]


def read_weights(path: Path, config: PolicyConfig) -> Weights:
    """Number of parameters and names of all tensors in directory `path`.

    Raises LabError where a file is missing, damaged or quantised.
    """
    total, names = 0, set[str]()
    for shard in _weight_files(path, config):
        shapes = _shapes(shard, config)
        total += sum(map(math.prod, shapes.values()))
        names.update(shapes)
    return Weights(total, frozenset(names))


def check_head(weights: Weights, read: "PreTrainedConfig", path: Path, name: str) -> None:
    """LabError if the files hold no output layer and the embedding is not used as one."""
    if getattr(read.get_text_config(), "tie_word_embeddings", True):
        return
    if any(HEADS & set(tensor.split(".")) for tensor in weights.names):
        return
    raise LabError(
        f"model {name!r}: {path / 'config.json'} has tie_word_embeddings=false, and the weights "
        "hold no output layer (lm_head.weight); set it to true if the model's embedding is its "
        "output layer too, or copy or download the weights again"
    )


def quantised(config: PolicyConfig, what: str) -> LabError:
    """The refusal of weights that are quantised, as `what` says."""
    return LabError(
        f"model {config.name!r}: its weights are quantised ({what}), which model.dtype="
        f"{config.dtype} cannot train; take the model that they were made from"
    )


def read_json(path: Path, name: str) -> Mapping[str, Any]:
    """The object in a model's JSON file. Raises LabError where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LabError(f"model {name!r}: {path.parent} has no {path.name}") from None
    except (ValueError, RecursionError) as error:
        raise LabError(f"model {name!r}: {path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise LabError(f"model {name!r}: {path} is damaged: no JSON object")
    return value


def _weight_files(path: Path, config: PolicyConfig) -> Sequence[Path]:
    index = path / "model.safetensors.index.json"
    if index.is_file():
        names = set(read_json(index, config.name).get("weight_map", {}).values())
    else:
        names = {"model.safetensors"}
    missing = sorted(file for file in names if not (path / file).is_file())
    if missing or not names:
        lacks = missing[0] if missing else "any weights"
        raise NotHereError(
            f"model {config.name!r}: {path} lacks {lacks}; only safetensors weights are read; "
            f"{fetch_advice(config)}"
        )
    return [path / file for file in sorted(names)]


def _shapes(path: Path, config: PolicyConfig) -> dict[str, list[int]]:
    """Shape of every tensor. Opening checks the header against the file's length; no tensor is
    read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
            kinds = {part.get_dtype(): key for key, part in slices.items()}
            shapes = {key: part.get_shape() for key, part in slices.items()}
    except (SafetensorError, OSError) as error:
        raise LabError(
            f"model {config.name!r}: {path} is damaged ({error}); copy or download it again"
        ) from error
    for kind, key in kinds.items():
        if kind.startswith(("F8", "F4", "F6", "I8", "U8")):
            raise quantised(config, f"{key} in {path.name} is {kind}")
    return shapes
