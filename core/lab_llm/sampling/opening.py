"""The engine that a configuration asks for: the toolkit's decoder, transformers', or vLLM."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import torch
from labrun.errors import LabError

from lab_llm.policy.policy import Policy

if TYPE_CHECKING:
    from labrun.runs.context import RunContext


from lab_llm.policy.engine import Engine
from lab_llm.sampling.batch_engines import DecoderEngine, TransformersEngine
from lab_llm.sampling.config import SamplingConfig


def check_engine(name: str, *, section: str) -> None:
    """Raises LabError, with the keys of `section`, where this engine is not installed."""
    if name == "vllm" and not importlib.util.find_spec("vllm"):
        raise LabError(
            f"{section}.engine=vllm, but vllm is not installed; `pip install 'labrun[gpu]'`, or "
            f"{section}.engine=auto"
        )


@contextmanager
def open_engine(
    ctx: "RunContext",
    policy: Policy,
    config: SamplingConfig,
    *,
    num_tokens: int,
    section: str,
) -> Iterator[Engine]:
    """The engine that `config.engine` asks for, freed at the end; the run notes any other choice.

    `num_tokens` is the length of the longest prompt with its completion, `section` where the
    settings stand. All ranks enter together.
    """
    check_engine(config.engine, section=section)
    shared = policy.engine
    kind = _resolve(config.engine)
    if shared is not None and config.engine in ("auto", shared.name):
        yield shared
    elif kind == "vllm":
        from lab_llm.sampling.vllm_engine import open_vllm

        with open_vllm(ctx, policy, config, num_tokens=num_tokens, section=section) as engine:
            ctx.note(f"evaluation samples with {engine.name}")
            yield engine
    else:
        may_substitute = config.engine == "auto"
        yield _own_engine(ctx, policy, kind, may_substitute=may_substitute, section=section)


def _resolve(name: str) -> Literal["cpu", "transformers", "vllm"]:
    if name == "auto":
        fast = torch.cuda.is_available() and importlib.util.find_spec("vllm")
        return "vllm" if fast else "cpu"
    assert name in ("cpu", "transformers", "vllm")
    return name


def _own_engine(
    ctx: "RunContext", policy: Policy, kind: str, *, may_substitute: bool, section: str
) -> Engine:
    if kind == "transformers":
        return TransformersEngine(policy)
    try:
        return DecoderEngine(policy)
    except LabError as refusal:
        if not may_substitute:
            raise LabError(f"{section}.engine=cpu: {refusal}; use transformers or vllm") from None
        ctx.note(f"evaluation samples with transformers' generate: {refusal}")
        return TransformersEngine(policy)
