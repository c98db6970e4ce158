"""Settings of study 1: one model under contexts of different richness."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, MinLen
from lab_llm.text.config import TeacherPrompt
from lab_llm.text.epistemic_words import EPISTEMIC_WORDS, Words
from labrun import schema

Level = Literal["none", "answer", "without_thinking", "guided", "solution"]
LEVELS: tuple[Level, ...] = ("none", "answer", "without_thinking", "guided", "solution")
"""From poor to rich."""


@schema
class RichnessConfig:
    """Study 1 of arXiv 2603.24472: problems that the model solves now and then, asked again with
    more and more of a correct solution in the prompt. The sampling defaults are the tiny model's,
    as it was trained; the paper's are named beside them."""

    pool: Annotated[str, MinLen(1)] = "train"
    """The problems to choose from: `train`, or the name of an evaluation set."""
    pool_size: Annotated[int, Ge(1)] = 200
    """Problems of the pool that are probed, the first ones (count)."""
    num_probes: Annotated[int, Ge(1)] = 8
    """Unguided responses of each of them (count; arXiv 2603.24472: 8)."""
    min_passes: Annotated[int, Ge(0)] = 1
    """Fewest correct probes of a problem that is kept (count; arXiv 2603.24472: 1)."""
    max_passes: Annotated[int, Ge(0)] = 4
    """Most correct probes of a problem that is kept (count; arXiv 2603.24472: 4)."""
    num_problems: Annotated[int, Ge(1)] = 100
    """Most problems that are kept, the first ones (count; arXiv 2603.24472: 100)."""
    solution_source: Literal["response", "dataset"] = "response"
    """A kept problem's solution s: one of its own correct probes, drawn at random, or the
    dataset's."""
    response_choice: Literal["random", "first"] = "random"
    """Which correct response is s, and guides the next round: one drawn at random, or the first one
    (arXiv 2603.24472's code: first, and the first response of a round without a correct one)."""
    levels: Annotated[tuple[Level, ...], MinLen(1)] = LEVELS
    """What the prompts show. none: nothing; answer: the final answer; without_thinking: s without
    its thinking; guided: a correct response that was itself given under guidance; solution: s."""
    rounds: Annotated[int, Ge(1)] = 2
    """Rounds of guidance behind `guided` (count): s guides the first, a correct response of each
    the next, and one of the last the responses that are scored. arXiv 2603.24472's code runs two
    rounds of generation, which are rounds=1: the second one's responses are `guided`."""
    template: str = ""
    """How that enters the last user message, with {prompt} and {solution}. Empty: the form that
    lies beside the model, else the SDPO prompt (see `lab_llm/text/prompts.py`)."""
    num_samples: Annotated[int, Ge(1)] = 8
    """Responses of each kept problem at each level, and in each round (count)."""
    max_new_tokens: Annotated[int, Ge(1)] = 128
    """Longest response (tokens; arXiv 2603.24472's code: 32,768)."""
    temperature: Annotated[float, Gt(0)] = 1.0
    """Divides the logits (arXiv 2603.24472: 0.6)."""
    top_p: Annotated[float, Gt(0), Le(1)] = 1.0
    """Probability mass of the nucleus (fraction; arXiv 2603.24472: 0.95)."""
    top_k: Annotated[int, Ge(0)] = 0
    """Tokens that may be sampled (count; arXiv 2603.24472: 20); 0: all."""
    words: Words = EPISTEMIC_WORDS
    """What epistemic_words and epistemic_count count."""
    batch_size: Annotated[int, Ge(1)] = 256
    """Responses sampled at a time (count), rounded to whole problems. Another value gives other
    responses, but with vLLM."""
    engine: Literal["auto", "cpu", "transformers", "vllm"] = "auto"
    """What samples: the toolkit's decoder (cpu), transformers' generate, or vLLM. auto: vLLM where
    it is installed and there is a GPU, else the decoder, or transformers where the decoder does not
    know the architecture."""
    vllm_gpu_memory_utilization: Annotated[float, Gt(0), Le(1)] = 0.5
    """Share of the GPU's memory that vLLM takes, all of which must be free (fraction)."""
    vllm_tensor_parallel: Annotated[int, Ge(1)] = 1
    """GPUs over which vLLM spreads the model (count): 1, since each process has one GPU."""
    only_last: bool = True
    """Work only at the run's last evaluation; else at each, where later files replace earlier."""

    @property
    def prompt(self) -> TeacherPrompt:
        """How a context enters the prompt."""
        return TeacherPrompt(teacher_template=self.template)
