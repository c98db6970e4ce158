"""Signs of life from within long work: at each pass through the model, at each step of vLLM."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lab_llm.policy.engine import Beat

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def no_beat() -> None:
    """For work that nobody watches."""


def beat_at_passes(model: "PreTrainedModel", beat: Beat) -> Any:
    """A handle that ends it by `remove()`: `beat` is called before each forward pass."""

    def before_pass(*_: Any) -> None:
        beat()

    return model.base_model.register_forward_pre_hook(before_pass)


@contextmanager
def beating_at_passes(model: "PreTrainedModel", beat: Beat) -> Iterator[None]:
    """While entered, `beat` is called before each forward pass."""
    hook = beat_at_passes(model, beat)
    try:
        yield
    finally:
        hook.remove()


MOST_STEPS = 2_000_000
"""Steps without a finished request after which a vLLM counts as silent: more than 16 completions of
64,000 tokens take one after the other. A vLLM that spins without work makes them in minutes."""


def beat_at_steps(llm: Any, beat: Beat) -> None:
    """Call `beat` before each step of a `vllm.LLM`, which makes a token of every running sequence.

    One call of `generate` makes all completions of a batch, which may take hours. The signs end
    after MOST_STEPS steps in which no request was finished.
    """
    engine = llm.llm_engine
    step, vain = engine.step, 0

    def beating(*args: Any, **settings: Any) -> Any:
        nonlocal vain
        if vain < MOST_STEPS:
            beat()
        finished = step(*args, **settings)
        vain = 0 if finished else vain + 1
        return finished

    engine.step = beating
