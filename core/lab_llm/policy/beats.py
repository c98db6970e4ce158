"""Signs of life from within long work: at each pass through the model, at each step of vLLM."""

import threading
import urllib.request
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


def beat_at_weights(generation: Any, beat: Beat) -> None:
    """Call `beat` before each weight that TRL's `generation` sends to vLLM, on every rank.

    Sending all may take long: of shared weights each is gathered first, and a server gets them over
    the network.
    """
    walk = generation._iter_named_params

    def beating() -> Iterator[Any]:
        for named in walk():
            beat()
            yield named

    generation._iter_named_params = beating


LOOK_S = 10.0
"""Time between two looks at a server."""
ANSWER_S = 30.0
"""Longest wait for its answer."""
TOKENS = ("vllm:generation_tokens_total", "vllm:prompt_tokens_total")
"""vLLM's counters of the tokens that it has read and made, as its /metrics names them."""


def beat_at_server_tokens(client: Any, beat: Beat, *, every_s: float = LOOK_S) -> None:
    """Call `beat` while a vLLM server works for `client` (TRL's), once for each look that finds
    new tokens.

    One request makes all completions of a batch, which may take hours. A server that makes no
    tokens, does not answer or shows no counters gives no sign.
    """
    generate = client.generate

    def watched(*args: Any, **settings: Any) -> Any:
        with _looking(f"{client.base_url}/metrics", beat, every_s=every_s):
            return generate(*args, **settings)

    client.generate = watched


@contextmanager
def _looking(url: str, beat: Beat, *, every_s: float) -> Iterator[None]:
    over = threading.Event()

    def look() -> None:
        seen = num_server_tokens(url)
        while not over.wait(every_s):
            found = num_server_tokens(url)
            if found is not None and found != seen:
                beat()
                seen = found

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def num_server_tokens(url: str) -> float | None:
    """Tokens that a vLLM server has read and made since its start; None where it does not say."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_S) as answer:
            lines = answer.read().decode(errors="replace").splitlines()
        found = [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(TOKENS)]
    except (OSError, ValueError):
        return None
    return sum(found) if found else None
