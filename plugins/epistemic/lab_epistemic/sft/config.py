"""Settings of the off-policy study."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le
from lab_llm.policy.config import PolicyConfig
from lab_llm.sampling.config import SamplingConfig
from lab_llm.text.config import TeacherPrompt
from lab_llm.text.epistemic_words import EPISTEMIC_WORDS, Words
from lab_llm.training.config import TrainedWeights
from lab_llm.training.zero import OptimizerStep
from labrun import LabError, schema


@schema
class SelfSFTConfig(TeacherPrompt, TrainedWeights):
    """Fine-tuning of the model at the start on its own correct responses (study 2 of arXiv
    2603.24472). Two sets are made, of equal size and of the same problems: one sampled as the
    student is asked, the other with a correct solution in the prompt. Learning rate and sizes are
    the tiny scale's; the paper's are not known to us."""

    guidance: Literal["none", "solution"] = "none"
    """Which set is trained on: none, the unguided responses; solution, the guided ones. Either way
    the prompts are those without the solution."""
    solution_source: Literal["response", "dataset"] = "response"
    """The solution that guides: one of the problem's own correct unguided responses, or the
    dataset's, which every training problem must then have."""
    num_probes: Annotated[int, Ge(1)] = 8
    """Responses sampled for each training problem, unguided, and as many guided (count)."""
    responses_per_problem: Annotated[int, Ge(1)] = 1
    """Correct responses of each kind that a problem gives to the sets (count). Problems with fewer
    of either kind are left out."""
    response_choice: Literal["random", "first"] = "random"
    """Which correct responses those are, and which one guides: drawn at random, or the first ones
    (arXiv 2603.24472's code: first)."""
    min_passes: Annotated[int, Ge(0)] = 0
    """Fewest correct unguided responses of a problem that is used (count; arXiv 2603.24472's code:
    1). 0 is as 1: a problem without any gives nothing."""
    max_passes: Annotated[int, Ge(1)] | None = None
    """Most correct unguided responses of a problem that is used (count; arXiv 2603.24472's code:
    4 of 8). None: any number."""
    num_problems: Annotated[int, Ge(1)] | None = None
    """Most problems that are used, the first ones within that window (count; arXiv 2603.24472's
    code: 100). None: all."""
    system_prompt: str = ""
    """System message of the prompts that are trained on, where they have none; responses are
    sampled without it (arXiv 2603.24472's code does so). Empty: none."""
    pairs: str = ""
    """A file sft_pairs.jsonl of an earlier run, to train on its sets; nothing is sampled then, and
    `num_probes`, the choice of problems and responses, and `solution_source` count for nothing.
    Empty: sample."""
    words: Words = EPISTEMIC_WORDS
    """What is counted in the two sets, in sft_pairs.json."""
    model: PolicyConfig = PolicyConfig()
    """The policy at the start, which also samples the sets."""
    sampler: Literal["cpu", "transformers", "vllm"] = "cpu"
    """What samples the sets: the toolkit's decoder, transformers' generate, or vLLM."""
    sampling_batch_size: Annotated[int, Ge(1)] = 256
    """Responses sampled at a time (count), rounded to whole problems. Another value gives other
    responses, but with vLLM."""
    max_completion_length: Annotated[int, Ge(1)] = 128
    """Longest response (tokens), its end token included. One that does not end is not used."""
    temperature: Annotated[float, Gt(0)] = 1.0
    """Divides the logits when sampling."""
    top_p: Annotated[float, Gt(0), Le(1)] = 1.0
    """Probability mass of the nucleus when sampling (fraction)."""
    top_k: Annotated[int, Ge(0)] = 0
    """Tokens that may be sampled (count); 0: all."""
    max_steps: Annotated[int, Ge(0)] = 100
    """Optimizer steps; 0 only evaluates."""
    batch_size: Annotated[int, Ge(1)] = 32
    """Responses of one optimizer step, all processes together (count)."""
    micro_batch_size: Annotated[int, Ge(1)] = 32
    """Most responses of one forward and backward pass of one process (count). The largest divisor
    of a process's share of `batch_size` up to it is taken; the plan says which."""
    learning_rate: Annotated[float, Gt(0)] = 3e-4
    """AdamW's learning rate, the same at every step."""
    save_every: Annotated[int, Ge(1)] = 25
    """Steps between checkpoints; the last step always has one."""
    evaluate_every: Annotated[int, Ge(0)] = 0
    """Steps between evaluations during training; 0: only before and after it."""
    evaluate_start: bool = True
    """Score the model before the first step."""


def micro_batch_size(config: SelfSFTConfig, num_processes: int) -> int:
    """Responses of one forward and backward pass of one process (count).

    The largest divisor of a process's share of `batch_size` that is at most
    `config.micro_batch_size`. Raises LabError where the batch cannot be shared out evenly.
    """
    share, left = divmod(config.batch_size, num_processes)
    if left:
        raise LabError(
            f"{num_processes} processes cannot share trainer.batch_size={config.batch_size} "
            "evenly; take a multiple, or change resources.num_processes"
        )
    return next(n for n in range(min(config.micro_batch_size, share), 0, -1) if share % n == 0)


def optimizer_step(config: SelfSFTConfig, num_processes: int) -> OptimizerStep:
    """One optimizer step of the run. Raises LabError where its batch cannot be shared out."""
    return OptimizerStep(
        micro_batch_size=micro_batch_size(config, num_processes),
        batch_size=config.batch_size,
        batch_key="trainer.batch_size",
        learning_rate=config.learning_rate,
    )


def engine_settings(config: SelfSFTConfig) -> SamplingConfig:
    """What opens the engine that samples the sets."""
    return SamplingConfig(engine=config.sampler)
