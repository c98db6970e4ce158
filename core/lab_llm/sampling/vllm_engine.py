"""vLLM as the evaluation's engine: one of its own for an evaluation, or a trainer's."""

import gc
import os
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from labrun.errors import LabError

from lab_llm.distributed.ranks import barrier, gather_objects
from lab_llm.policy.beats import beat_at_steps
from lab_llm.policy.engine import Beat, Completions, Sampling, Share
from lab_llm.policy.policy import Policy
from lab_llm.sampling.config import SamplingConfig
from lab_llm.sampling.engines import check_parallel, check_temperature

if TYPE_CHECKING:
    from labrun.runs.context import RunContext


MOST_SEQUENCES = 1024
"""Most completions that an engine works on at once (count): vLLM's own number for large GPUs."""


class VLLMEngine:
    """Samples with `llm` (a `vllm.LLM`), which must hold the policy's present weights.

    `tensor_parallel` neighbouring ranks together have one copy of them.
    """

    name = "vllm"

    def __init__(self, llm: Any, *, tensor_parallel: int = 1) -> None:
        self.llm, self.tensor_parallel = llm, tensor_parallel

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        seed: int,
        share: Share,
        beat: Beat,
    ) -> Completions:
        """Prompts go to the ranks in turn; each has a seed of its own.

        Ranks with one copy of the model sample the same prompts, and the first of them returns
        them.
        """
        together = self.tensor_parallel
        mine = range(share.rank // together, len(prompts), share.world_size // together)
        size = sampling.prompts_at_a_time * together
        found: Completions = {}
        for start in range(0, len(mine), size):
            batch = mine[start : start + size]
            outputs = self.llm.generate(
                [{"prompt_token_ids": list(prompts[index])} for index in batch],
                [_params(sampling, prompt_seed(seed, index)) for index in batch],
                use_tqdm=False,
            )
            for index, output in zip(batch, outputs, strict=True):
                found[index] = [list(one.token_ids) for one in output.outputs]
            beat()
        return found if share.rank % together == 0 else {}


def prompt_seed(seed: int, index: int) -> int:
    """A seed of 62 bits for one prompt of a set.

    vLLM gives sample j of a prompt the seed + j, so that neighbouring seeds would draw the same
    numbers for neighbouring prompts.
    """
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0]) >> 2


def _params(sampling: Sampling, seed: int) -> Any:
    from vllm import SamplingParams

    return SamplingParams(
        n=sampling.num_samples,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k or -1,
        max_tokens=sampling.max_new_tokens,
        stop_token_ids=list(sampling.end_token_ids),
        seed=seed,
        detokenize=False,
    )


@contextmanager
def open_vllm(
    ctx: "RunContext", policy: Policy, config: SamplingConfig, *, num_tokens: int, section: str
) -> Iterator[VLLMEngine]:
    """vLLM on the policy's present weights; its memory is free again at the end.

    The weights are written into a folder inside the run by the first rank, and removed when all
    have read them. All ranks enter together. Raises LabError, with the keys of `section`, where the
    longest sequence is longer than the model or `vllm_max_model_len` takes.
    """
    length = _model_length(policy, config, num_tokens, section=section)
    check_parallel(config.vllm_tensor_parallel, section=section)
    check_temperature(config.temperature, key=f"{section}.temperature")
    keeps_group = torch.distributed.is_initialized()
    _collect()  # its share of the GPU must be free
    with _random_states_kept():
        with _weights(ctx, policy) as folder:
            llm = _load(folder, policy, config, length=length, together=ctx.world_size > 1)
            barrier()
        beat_at_steps(llm, ctx.heartbeat)
        try:
            yield VLLMEngine(llm)
        finally:
            _shut_down(llm, keeps_group=keeps_group)
            del llm
            _collect()


def _model_length(policy: Policy, config: SamplingConfig, num_tokens: int, *, section: str) -> int:
    positions = getattr(policy.model.config, "max_position_embeddings", None)
    length = config.vllm_max_model_len or num_tokens
    key = f"{section}.vllm_max_model_len"
    if num_tokens > length:
        raise LabError(
            f"{key}={length}, but the longest prompt + max_new_tokens is {num_tokens} tokens; "
            f"raise it, or lower {section}.max_new_tokens"
        )
    if positions is not None and length > positions:
        if config.vllm_max_model_len:
            raise LabError(f"{key}={length}: the model takes {positions} tokens; lower it")
        raise LabError(
            f"{section}.max_new_tokens={config.max_new_tokens}: with the longest prompt that is "
            f"{length} tokens, the model takes {positions}; lower it"
        )
    return length


@contextmanager
def _weights(ctx: "RunContext", policy: Policy) -> Iterator[str]:
    """The folder to which the first rank wrote the policy, on every rank."""
    if ctx.rank > 0:
        (folder, *_) = gather_objects("")
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix=".policy-", dir=ctx.run_dir) as folder:
        policy.model.save_pretrained(folder)
        policy.tokenizer.save_pretrained(folder)
        gather_objects(folder)
        yield folder


def _load(
    folder: str, policy: Policy, config: SamplingConfig, *, length: int, together: bool
) -> Any:
    # FlashInfer's sampler is compiled at first use, which takes an nvcc. Prompts with seeds of
    # their own, as all here, do not use it; vLLM's warm-up would.
    os.environ.setdefault("VLLM_USE_FLASHINFER_SAMPLER", "0")
    from vllm import LLM

    cuda = torch.cuda.is_available()
    return LLM(
        model=folder,
        dtype=policy.products or str(policy.model.dtype).removeprefix("torch."),
        trust_remote_code=policy.trusts_code,
        max_model_len=length,
        # What is asked for at once. With more, vLLM's trial run at the start takes more memory.
        max_num_seqs=min(config.batch_size, MOST_SEQUENCES),
        gpu_memory_utilization=config.vllm_gpu_memory_utilization,
        distributed_executor_backend="external_launcher" if together else None,
        # Without a GPU there is nothing to capture, and compiling costs more than it saves.
        enforce_eager=not cuda,
        # A chunked prompt sets its generator back, which the CPU's generators cannot.
        enable_chunked_prefill=cuda,
        # The model's own defaults would replace what SamplingParams leaves out.
        generation_config="vllm",
        seed=0,
    )


def _shut_down(llm: Any, *, keeps_group: bool) -> None:
    """End the engine. In this process it would end torch's process groups too, all of them: with
    `keeps_group` those stay, since the run had some before."""
    from vllm.distributed import parallel_state

    destroy = parallel_state.destroy_distributed_environment
    if keeps_group:
        parallel_state.destroy_distributed_environment = lambda: None
    try:
        llm.llm_engine.engine_core.shutdown()
    finally:
        parallel_state.destroy_distributed_environment = destroy
    parallel_state.destroy_model_parallel()
    if not keeps_group:
        destroy()


@contextmanager
def _random_states_kept() -> Iterator[None]:
    """What draws from the global generators goes on afterwards as if nothing had been: vLLM seeds
    all of them in the process in which it runs."""
    cuda = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    own, numpys = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=cuda):
            yield
    finally:
        random.setstate(own)
        np.random.set_state(numpys)


def _collect() -> None:
    """Free what nobody holds, on the GPU too."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
