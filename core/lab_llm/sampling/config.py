"""Settings of sampling: how completions are drawn, and what draws them."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le
from labrun.schema import schema


@schema
class SamplingConfig:
    """How completions are drawn. The defaults are the policy's own distribution."""

    temperature: Annotated[float, Ge(0)] = 1.0
    """Divides the logits; 0 is greedy. Qwen3's cards: 0.6 for thinking, 0.7 for instruct models."""
    top_p: Annotated[float, Gt(0), Le(1)] = 1.0
    """Probability mass of the nucleus (fraction); 1 keeps all. Qwen3's cards: 0.95 for thinking,
    0.8 for instruct models."""
    top_k: Annotated[int, Ge(0)] = 0
    """Tokens that may be sampled (count); 0: all. Qwen3's cards: 20 for both."""
    max_new_tokens: Annotated[int, Ge(1)] = 64
    """Longest completion (tokens)."""
    batch_size: Annotated[int, Ge(1)] = 256
    """Completions sampled at a time (count), rounded to whole problems. Another value gives other
    random samples, except with vLLM, which has a seed for each problem."""
    engine: Literal["auto", "cpu", "transformers", "vllm"] = "auto"
    """What samples: the toolkit's decoder (cpu), transformers' generate, or vLLM. auto: vLLM where
    it is installed and there is a GPU, else the decoder, or transformers where the decoder does not
    know the architecture. Each draws other samples from equal seeds."""
    vllm_gpu_memory_utilization: Annotated[float, Gt(0), Le(1)] = 0.5
    """Share of the GPU's memory that vLLM takes, all of which must be free (fraction)."""
    vllm_tensor_parallel: Annotated[int, Ge(1)] = 1
    """GPUs over which vLLM spreads the model (count): 1, since each process has one GPU."""
    vllm_max_model_len: Annotated[int, Ge(1)] | None = None
    """Longest prompt with its completion in vLLM (tokens); None: as long as this evaluation can
    need."""
