"""Engines: which is taken, and that the ranks' shares are the whole."""

import dataclasses
import os
import random
import sys
from itertools import pairwise
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lab_llm.evaluation.accuracy import AccuracyEvaluator
from lab_llm.evaluation.config import AccuracyConfig
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.engine import Sampling, Share
from lab_llm.policy.policy import load_policy
from lab_llm.sampling import batch_engines, vllm_engine
from lab_llm.sampling.batch_engines import DecoderEngine, TransformersEngine
from lab_llm.sampling.opening import open_engine
from lab_llm.sampling.vllm_engine import VLLMEngine, _model_length, prompt_seed
from labrun.errors import LabError
from labrun.plan import Setup

PROMPTS = [[5, 6, 7], [8, 9], [10, 11, 12, 13], [14], [15, 16]]


@pytest.fixture(scope="module")
def policy():
    return load_policy(PolicyConfig(name="tiny"))


@pytest.fixture
def sampling(policy):
    return Sampling(
        num_samples=2,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        max_new_tokens=6,
        batch_size=4,
        end_token_ids=batch_engines.end_tokens(policy),
    )


def sampled(engine, sampling, *, rank=0, world_size=1, beats=None):
    beat = (lambda: None) if beats is None else (lambda: beats.append(1))
    return engine.sample(PROMPTS, sampling, seed=3, share=Share(rank, world_size), beat=beat)


@pytest.mark.parametrize("kind", [DecoderEngine, TransformersEngine])
@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_the_shares_of_all_ranks_are_what_one_process_samples(policy, sampling, kind, world_size):
    engine, beats = kind(policy), []
    whole = sampled(engine, sampling, beats=beats)
    assert sorted(whole) == [0, 1, 2, 3, 4]
    assert len(beats) == 3  # batches of 2 prompts, 2 samples each
    assert {len(rows) for rows in whole.values()} == {2}
    shares = [sampled(engine, sampling, rank=r, world_size=world_size) for r in range(world_size)]
    assert sum(map(len, shares)) == 5
    assert {i: rows for share in shares for i, rows in share.items()} == whole


def test_greedy_shares_draw_nothing(policy, sampling):
    greedy = dataclasses.replace(sampling, temperature=0.0, num_samples=1)
    engine = DecoderEngine(policy)
    whole = sampled(engine, greedy)
    assert sampled(engine, greedy, rank=1, world_size=2) == {i: whole[i] for i in (4,)}


class Notes:
    """The part of a run's context that choosing an engine touches."""

    world_size, rank = 1, 0

    def __init__(self):
        self.notes = []

    def heartbeat(self):
        pass

    def note(self, message):
        self.notes.append(message)


def chosen(policy, name):
    ctx = Notes()
    config = AccuracyConfig(engine=name)
    with open_engine(ctx, policy, config, num_tokens=8, section="evaluator.accuracy") as engine:
        return engine, ctx.notes


def test_without_a_gpu_auto_is_the_decoder(policy):
    assert chosen(policy, "auto")[0].name == "cpu"
    assert chosen(policy, "transformers")[0].name == "transformers"
    assert chosen(policy, "auto")[1] == []


def test_an_unknown_architecture_is_replaced_only_where_the_choice_was_free(policy, monkeypatch):
    monkeypatch.setattr("lab_llm.sampling.decoder.ARCHITECTURES", ())
    engine, notes = chosen(policy, "auto")
    assert engine.name == "transformers"
    assert len(notes) == 1
    assert "qwen3" in notes[0]
    with pytest.raises(
        LabError, match=r"evaluator\.accuracy\.engine=cpu: .*use transformers or vllm"
    ):
        chosen(policy, "cpu")


def test_a_trainers_engine_is_reused_unless_another_is_asked_for(policy):
    theirs = SimpleNamespace(name="vllm")
    holding = SimpleNamespace(model=policy.model, tokenizer=policy.tokenizer, engine=theirs)
    assert chosen(holding, "auto")[0] is theirs
    assert chosen(holding, "cpu")[0].name == "cpu"


def test_vllm_that_is_not_installed_stands_under_missing(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (missing,) = AccuracyEvaluator(AccuracyConfig(engine="vllm")).plan(Setup()).missing
    assert missing.startswith("evaluator.accuracy.engine=vllm, but vllm is not installed; `pip ins")


@pytest.mark.parametrize(
    ("length", "num_tokens", "message"),
    [
        (80, 81, r"^evaluator\.other\.vllm_max_model_len=80, but .* is 81 tokens; raise"),
        (101, 90, r"^evaluator\.other\.vllm_max_model_len=101: .* takes 100 tokens; lower"),
        (None, 101, r"^evaluator\.other\.max_new_tokens=64: .* 101 tokens, the model takes 100;"),
    ],
)
def test_a_length_that_vllm_cannot_take_is_refused_by_key(length, num_tokens, message):
    config = SimpleNamespace(max_position_embeddings=100)
    holding: Any = SimpleNamespace(model=SimpleNamespace(config=config))
    asked = AccuracyConfig(vllm_max_model_len=length)
    with pytest.raises(LabError, match=message):
        _model_length(holding, asked, num_tokens, section="evaluator.other")
    assert _model_length(holding, AccuracyConfig(), 100, section="evaluator.other") == 100
    wide = AccuracyConfig(vllm_max_model_len=100)
    assert _model_length(holding, wide, 90, section="evaluator.other") == 100


def test_vllm_prompts_go_in_turn_with_seeds_of_their_own(sampling, monkeypatch):
    class LLM:
        """Gives the seed, and then the sample's number, as completion."""

        def generate(self, prompts, params, *, use_tqdm):
            assert [set(p) for p in prompts] == [{"prompt_token_ids"}] * len(params)
            return [
                SimpleNamespace(outputs=[SimpleNamespace(token_ids=(seed, j)) for j in range(2)])
                for seed in params
            ]

    monkeypatch.setattr("lab_llm.sampling.vllm_engine._params", lambda sampling, seed: seed)
    engine = VLLMEngine(LLM())
    whole = sampled(engine, sampling)
    assert whole == {i: [[prompt_seed(3, i), j] for j in range(2)] for i in range(5)}
    assert sampled(engine, sampling, rank=1, world_size=2) == {i: whole[i] for i in (1, 3)}
    # pairs of ranks have one copy of the model: each rank of a pair asks for the same prompts
    together = VLLMEngine(LLM(), tensor_parallel=2)
    beats: list[list[int]] = [[] for _ in range(4)]
    shares = [
        sampled(together, sampling, rank=rank, world_size=4, beats=beats[rank]) for rank in range(4)
    ]
    assert [sorted(share) for share in shares] == [[0, 2, 4], [], [1, 3], []]
    assert {i: rows for share in shares for i, rows in share.items()} == whole
    assert [len(of_rank) for of_rank in beats] == [1] * 4


def test_neighbouring_prompts_have_seeds_far_apart():
    seeds = sorted(prompt_seed(7, index) for index in range(500))
    assert min(b - a for a, b in pairwise(seeds)) > 10**6
    assert seeds[0] >= 0
    assert seeds[-1] < 2**62
    assert prompt_seed(7, 0) != prompt_seed(8, 0)


def test_generate_waits_for_no_other_rank(policy, sampling, monkeypatch):
    generate, told = policy.model.generate, []

    def recording(*args, synced_gpus=None, **words):
        told.append(synced_gpus)
        return generate(*args, synced_gpus=synced_gpus, **words)

    monkeypatch.setattr(policy.model, "generate", recording)
    sampled(TransformersEngine(policy), sampling)
    assert told == [False] * 3


def test_what_seeds_the_global_generators_leaves_them_as_they_were():
    drawn = []
    for seeds in (False, True):
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        with vllm_engine._random_states_kept():
            if seeds:
                random.seed(0)
                np.random.seed(0)
                torch.manual_seed(0)
        drawn.append((random.random(), np.random.random(), torch.rand(()).item()))
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("keeps_group", [True, False])
def test_an_engine_that_ends_leaves_the_runs_process_groups(monkeypatch, keeps_group):
    ended = []
    state = ModuleType("parallel_state")
    state.destroy_distributed_environment = lambda: ended.append("groups")
    state.destroy_model_parallel = lambda: None
    package = ModuleType("vllm")
    package.distributed = ModuleType("vllm.distributed")
    package.distributed.parallel_state = state
    monkeypatch.setitem(sys.modules, "vllm", package)
    monkeypatch.setitem(sys.modules, "vllm.distributed", package.distributed)
    # an engine in this process looks the function up when it ends
    core = SimpleNamespace(shutdown=lambda: state.destroy_distributed_environment())
    llm = SimpleNamespace(llm_engine=SimpleNamespace(engine_core=core))
    vllm_engine._shut_down(llm, keeps_group=keeps_group)
    assert bool(ended) is not keeps_group
    state.destroy_distributed_environment()
    assert ended  # the function is there again


def test_what_an_evaluations_vllm_is_told(policy, monkeypatch):
    told = []
    package = ModuleType("vllm")
    package.LLM = lambda **words: told.append(words)
    monkeypatch.setitem(sys.modules, "vllm", package)
    monkeypatch.delenv("VLLM_USE_FLASHINFER_SAMPLER", raising=False)
    for batch_size in (64, 4096):
        config = AccuracyConfig(engine="vllm", batch_size=batch_size)
        products = dataclasses.replace(policy, products="bfloat16")
        vllm_engine._load("folder", products, config, length=80, together=True)
    assert os.environ.pop("VLLM_USE_FLASHINFER_SAMPLER") == "0"
    assert [words["max_num_seqs"] for words in told] == [64, 1024]
    assert told[0]["dtype"] == "bfloat16"
    assert told[0]["trust_remote_code"] is False
    assert told[0]["distributed_executor_backend"] == "external_launcher"
    vllm_engine._load("folder", policy, AccuracyConfig(), length=80, together=False)
    assert told[2]["dtype"] == "float32"
    os.environ.pop("VLLM_USE_FLASHINFER_SAMPLER")
