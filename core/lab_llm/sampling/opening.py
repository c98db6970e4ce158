"""The engine that a configuration asks for: the toolkit's decoder, transformers', or vLLM."""

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from labrun.errors import LabError

from lab_llm.policy.engine import Engine
from lab_llm.policy.policy import Policy
from lab_llm.sampling.batch_engines import DecoderEngine, TransformersEngine
from lab_llm.sampling.config import SamplingConfig
from lab_llm.sampling.engines import DECODER, TRANSFORMERS, VLLM, check_engine

if TYPE_CHECKING:
    from labrun.runs.context import RunContext

AUTO = "auto"


@runtime_checkable
class OpensEngine(Protocol):
    """An evaluator that opens an engine of its own where the policy brings none."""

    section: str
    """Its keys' section below `evaluator`."""

    @property
    def engine_settings(self) -> SamplingConfig | None:
        """What opens the engine; None: it samples nothing."""
        ...

    @property
    def longest_planned(self) -> int:
        """Longest sequence as far as the settings alone tell (tokens)."""
        ...

    @property
    def opens_at_start(self) -> bool:
        """Whether it samples before a training, too."""
        ...


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
    if shared is not None and config.engine in (AUTO, shared.name):
        yield shared
        return
    name = best_here() if config.engine == AUTO else config.engine
    with OPENERS[name](ctx, policy, config, num_tokens, section) as engine:
        yield engine


def best_here() -> str:
    """The name of the fastest engine on this machine."""
    fast = torch.cuda.is_available() and importlib.util.find_spec(VLLM.package)
    return VLLM.name if fast else DECODER.name


def best_for(num_gpus: int) -> str:
    """The name of the fastest engine where a job with so many GPUs runs: here, or, where it has
    some and none is here, on a machine with vLLM."""
    elsewhere = num_gpus > 0 and not torch.cuda.is_available()
    return VLLM.name if elsewhere else best_here()


@contextmanager
def _decoder(
    ctx: "RunContext", policy: Policy, config: SamplingConfig, num_tokens: int, section: str
) -> Iterator[Engine]:
    """The toolkit's decoder; where nobody asked for it and it does not know the architecture,
    transformers."""
    del num_tokens
    try:
        engine: Engine = DecoderEngine(policy, alive=ctx.heartbeat)
    except LabError as refusal:
        if config.engine != AUTO:
            raise LabError(f"{section}.engine=cpu: {refusal}; use transformers or vllm") from None
        ctx.note(f"evaluation samples with transformers' generate: {refusal}")
        engine = TransformersEngine(policy, alive=ctx.heartbeat)
    yield engine


@contextmanager
def _transformers(
    ctx: "RunContext", policy: Policy, config: SamplingConfig, num_tokens: int, section: str
) -> Iterator[Engine]:
    del config, num_tokens, section
    yield TransformersEngine(policy, alive=ctx.heartbeat)


@contextmanager
def _vllm(
    ctx: "RunContext", policy: Policy, config: SamplingConfig, num_tokens: int, section: str
) -> Iterator[Engine]:
    from lab_llm.sampling.vllm_engine import open_vllm

    with open_vllm(ctx, policy, config, num_tokens=num_tokens, section=section) as engine:
        ctx.note(f"evaluation samples with {engine.name}")
        yield engine


Opener = Callable[["RunContext", Policy, SamplingConfig, int, str], AbstractContextManager[Engine]]
OPENERS: Mapping[str, Opener] = {
    DECODER.name: _decoder,
    TRANSFORMERS.name: _transformers,
    VLLM.name: _vllm,
}
