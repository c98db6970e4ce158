"""A model's sizes before its weights are loaded: from its configuration, here or published."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from lab_llm.planning.estimates import ModelShape
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.config_files import read_settings
from lab_llm.policy.location import NotHereError, locate
from lab_llm.policy.weight_files import read_weights

SIZES = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size")
SIZES += ("vocab_size",)


@cache
def published() -> Mapping[str, Mapping[str, Any]]:
    """Name -> fields of the config.json of a published model, for plans where no hub is reached."""
    return json.loads((files("lab_llm") / "data" / "published_models.json").read_text())


def shape_of_model(model: PolicyConfig) -> ModelShape | None:
    """The model's sizes, of its own files or, where it is not here, as they are published.

    None: neither is known, or its configuration has other fields than Qwen's and Llama's.
    """
    try:
        path = locate(model)
    except NotHereError:
        path = None
    if path is None or path.is_file():  # a GGUF file takes as long to read as its weights
        fields = published().get(model.name)
        return None if fields is None else shape_of(fields)
    fields = read_settings(path, model.name)
    if not _has_sizes(fields):
        return None
    try:
        return shape_of(fields, num_parameters=read_weights(path, model).num_parameters)
    except NotHereError:
        return shape_of(fields)


def shape_of(fields: Mapping[str, Any], *, num_parameters: int | None = None) -> ModelShape | None:
    """The sizes in a config.json; None if it does not use the names of Qwen and Llama.

    `num_parameters`: as the weights' files have them; None: they are counted.
    """
    if not _has_sizes(fields):
        return None
    text = fields.get("text_config", fields)
    heads = text["num_attention_heads"]
    return ModelShape(
        num_layers=text["num_hidden_layers"],
        hidden_size=text["hidden_size"],
        num_heads=heads,
        num_kv_heads=text.get("num_key_value_heads") or heads,
        head_dim=text.get("head_dim") or text["hidden_size"] // heads,
        intermediate_size=text["intermediate_size"],
        vocab_size=text["vocab_size"],
        num_parameters=num_parameters or num_parameters_of(json.dumps(dict(fields))),
        context_length=text.get("max_position_embeddings") or 0,
        qk_norm=_qk_norm(str(text.get("model_type", ""))),
    )


@cache
def num_parameters_of(config: str) -> int:
    """Parameters of the model of this config.json, built on torch's meta device: no memory is
    taken, and a shared weight counts once."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    fields = json.loads(config)
    read = AutoConfig.for_model(fields.pop("model_type"), **fields)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(read)
    return sum(parameter.numel() for parameter in model.parameters())


def _has_sizes(fields: Mapping[str, Any]) -> bool:
    text = fields.get("text_config", fields)
    return all(isinstance(text.get(name), int) for name in SIZES)


def _qk_norm(model_type: str) -> Literal["none", "head", "all"]:
    if "qwen3" in model_type:
        return "head"
    return "all" if model_type in ("olmo2", "olmo3") else "none"
