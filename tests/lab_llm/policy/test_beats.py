"""A slow engine and an impatient watchdog: work that gives signs from within is alive."""

import threading
import time
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lab_llm.policy.beats import (
    beat_at_passes,
    beat_at_server_tokens,
    beat_at_steps,
    beat_at_weights,
    num_server_tokens,
)
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.engine import Sampling, Share
from lab_llm.policy.policy import load_policy
from lab_llm.sampling.batch_engines import DecoderEngine, TransformersEngine
from lab_llm.sampling.decoder import Decoder
from lab_llm.sampling.scorer import completion_logprobs
from lab_llm.sampling.vllm_engine import VLLMEngine
from labrun.config.experiments import compose
from labrun.launch.jobs import Silence
from labrun.runs import run_dir
from labrun.runs.context import RunContext
from trl.generation.vllm_generation import VLLMGeneration

TOKEN_S, NUM_TOKENS = 0.25, 24
SAMPLING = Sampling(
    num_samples=1,
    temperature=1.0,
    top_p=1.0,
    top_k=0,
    max_new_tokens=NUM_TOKENS,
    batch_size=8,
    end_token_ids=(),
)


@pytest.fixture
def policy():
    return load_policy(PolicyConfig())


@pytest.fixture
def ctx(tmp_path):
    run = run_dir.create(compose(["plugin=rlrt"]), root=tmp_path)
    ctx = RunContext(run=run, seed=0, attempt=0, devices=(), resume_from=None, keep_checkpoints=1)
    ctx.progress(stage="evaluate")
    return ctx


@pytest.fixture
def slow(monkeypatch, policy):
    """A model, whose every pass takes a quarter of a second."""
    decode = Decoder.decode

    def slowly(*args):
        time.sleep(TOKEN_S)
        return decode(*args)

    monkeypatch.setattr(Decoder, "decode", slowly)
    policy.model.base_model.register_forward_pre_hook(lambda *_: time.sleep(TOKEN_S))
    return policy


def longest_silence_s(run, work):
    """The longest silence that the watchdog counts while `work` runs, and how long that took."""
    silence, counted, over = Silence(run), [0.0], threading.Event()

    def watch():
        while not over.wait(0.05):
            counted.append(silence.seconds())

    watcher = threading.Thread(target=watch)
    began = time.monotonic()
    watcher.start()
    work()
    over.set()
    watcher.join()
    return max(counted), time.monotonic() - began


@pytest.mark.parametrize("engine", [DecoderEngine, TransformersEngine])
def test_one_batch_of_a_slow_engine_is_never_silent_for_half_its_time(ctx, slow, engine):
    def work():
        engine(slow, alive=ctx.heartbeat).sample(
            [[1, 5, 6]], SAMPLING, seed=1, share=Share(), beat=lambda: None
        )

    silent_s, took_s = longest_silence_s(ctx.run, work)
    assert took_s > (NUM_TOKENS - 1) * TOKEN_S
    assert silent_s < took_s / 2
    assert ctx.run.progress()["stage"] == "evaluate"


def test_an_engine_that_is_stuck_is_silent(ctx, policy):
    beats = []
    hook = beat_at_passes(policy.model, lambda: beats.append(1))
    silent_s, took_s = longest_silence_s(ctx.run, lambda: time.sleep(1))
    assert silent_s > took_s / 2
    assert not beats
    hook.remove()


def test_each_pass_through_the_model_is_a_sign_of_life(policy):
    beats = []
    hook = beat_at_passes(policy.model, lambda: beats.append(1))
    ids = policy.tokenizer("1+1", return_tensors="pt")["input_ids"]
    policy.model(ids)
    policy.model.base_model(ids)
    assert len(beats) == 2
    hook.remove()
    policy.model(ids)
    assert len(beats) == 2


def test_each_batch_of_scored_completions_is_a_sign_of_life(policy):
    beats = []
    completion_logprobs(
        policy.model,
        [[1, 5]] * 5,
        [[6, 7]] * 5,
        width=2,
        batch_size=2,
        pad_token_id=0,
        beat=lambda: beats.append(1),
    )
    assert len(beats) == 3


class Stepping:
    """What vLLM's `LLM.generate` does: it steps its engine until every sequence has ended."""

    def __init__(self):
        self.llm_engine = SimpleNamespace(step=lambda: "token")

    def generate(self, prompts, params, use_tqdm):
        tokens = [self.llm_engine.step() for _ in range(3)]
        return [SimpleNamespace(outputs=[SimpleNamespace(token_ids=tokens)]) for _ in prompts]


def test_each_step_of_vllm_is_a_sign_of_life(monkeypatch):
    monkeypatch.setattr("lab_llm.sampling.vllm_engine._params", lambda *_: None)
    llm, beats = Stepping(), []
    beat_at_steps(llm, lambda: beats.append(1))
    found = VLLMEngine(llm).sample([[1]], SAMPLING, seed=1, share=Share(), beat=lambda: None)
    assert found == {0: [["token"] * 3]}
    assert len(beats) == 3


class Metrics(BaseHTTPRequestHandler):
    """What a vLLM server says at /metrics, of a counter that grows by `grows` at each look."""

    tokens, grows = 0, 7

    def do_GET(self):
        assert self.path == "/metrics"
        type(self).tokens += self.grows
        text = "# TYPE vllm:generation_tokens_total counter\n"
        text += f'vllm:generation_tokens_total{{engine="0",model_name="m n"}} {self.tokens}.0\n'
        text += "vllm:prompt_tokens_total 5.0\nvllm:num_requests_running 3.0\n"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(("grows", "lives"), [(7, True), (0, False)])
def test_a_server_that_makes_tokens_lives_and_one_that_does_not_is_silent(grows, lives):
    handler = type("Handler", (Metrics,), {"tokens": 0, "grows": grows})
    beats = []
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        over = threading.Event()

        def beat():
            beats.append(1)
            if len(beats) == 2:
                over.set()

        def generate(prompts, *, n):
            over.wait(60 if lives else 0.3)
            return prompts * n

        client = SimpleNamespace(base_url=url, generate=generate)
        beat_at_server_tokens(client, beat, every_s=0.02)
        assert client.generate([1], n=2) == [1, 1]
        assert (len(beats) >= 2) == lives
        counted = num_server_tokens(f"{url}/metrics")
        assert counted == handler.tokens + 5
        server.shutdown()
    assert num_server_tokens(f"{url}/metrics") is None


def test_a_vllm_that_steps_on_without_finishing_a_request_falls_silent(monkeypatch):
    monkeypatch.setattr("lab_llm.policy.beats.MOST_STEPS", 3)
    finished, beats = [[], [], ["one"], *[[]] * 5, ["two"], []], []
    outputs = iter(finished)
    llm = SimpleNamespace(llm_engine=SimpleNamespace(step=lambda: next(outputs)))
    beat_at_steps(llm, lambda: beats.append(1))
    heard = []
    for _ in finished:
        llm.llm_engine.step()
        heard.append(len(beats))
    assert heard == [1, 2, 3, 4, 5, 6, 6, 6, 6, 7]


@pytest.mark.parametrize("is_first", [True, False])
def test_every_weight_that_trl_sends_to_a_server_is_a_sign_of_life(is_first):
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    sent: list[str] = []
    beats: list[int] = []

    def update(metadata, weights):
        assert [name for name, *_ in metadata] == ["0.weight", "0.bias", "1.weight", "1.bias"]
        for name, _ in weights:
            sent.append(name)
            assert len(beats) == 4 + len(sent)  # the weights are walked once before for their sizes

    generation: Any = object.__new__(VLLMGeneration)
    generation.mode, generation.enable_sleep_mode = "server", False
    generation.model, generation._weight_metadata = model, None
    generation.accelerator = SimpleNamespace(is_main_process=is_first)
    generation._dist = SimpleNamespace(is_fsdp=False, gather_params=lambda _: nullcontext())
    generation.vllm_client = SimpleNamespace(
        update_named_params=update, reset_prefix_cache=lambda: None
    )
    beat_at_weights(generation, lambda: beats.append(1))
    generation.sync_weights()
    assert len(beats) == 8
    assert len(sent) == (4 if is_first else 0)
