"""vLLM for real, on the CPU by infra/vllm-cpu; skipped where it isn't installed."""

import importlib.util
import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lab_llm.datasets.countdown import CountdownDataset
from lab_llm.datasets.countdown_config import CountdownConfig
from lab_llm.evaluation.accuracy import AccuracyEvaluator
from lab_llm.evaluation.config import AccuracyConfig
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.policy import load_policy
from labrun.runs.context import RunContext
from labrun.runs.run_dir import RunDir
from vllm_on_cpu import ENVIRONMENT

pytestmark = [
    pytest.mark.skipif(
        not importlib.util.find_spec("vllm"),
        reason="vllm is not installed (extra gpu, or infra/vllm-cpu)",
    ),
    pytest.mark.filterwarnings("default"),  # vLLM warns of its own dependencies
]
NUM_PROBLEMS = 50


@pytest.fixture(scope="module", autouse=True)
def cpu_backend():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def policy():
    return load_policy(PolicyConfig(name="tiny"))


def evaluate(path, policy, engine, **settings):
    path.mkdir()
    ctx = RunContext(
        run=RunDir(path), seed=0, attempt=1, devices=(), resume_from=None, keep_checkpoints=1
    )
    data = CountdownDataset(CountdownConfig()).load(ctx)
    config = AccuracyConfig(
        engine=engine, max_problems=NUM_PROBLEMS, max_new_tokens=128, **settings
    )
    scores = AccuracyEvaluator(config).evaluate(ctx, policy, data)
    lines = (path / "artifacts/completions/in_domain.jsonl").read_text().splitlines()
    accuracy = {s.task: s.value for s in scores if s.metric == "accuracy"}
    return accuracy, [json.loads(line) for line in lines]


def test_greedy_completions_are_the_decoders_but_for_near_ties(tmp_path, policy):
    greedy = {"temperature": 0.0, "num_samples": 1}
    _, own = evaluate(tmp_path / "cpu", policy, "cpu", **greedy)
    _, other = evaluate(tmp_path / "vllm", policy, "vllm", **greedy)
    assert {line["engine"] for line in other} == {"vllm"}
    same = sum(a["completion"] == b["completion"] for a, b in zip(own, other, strict=True))
    assert same >= 0.9 * NUM_PROBLEMS
    ended = [(a["tokens"], b["tokens"]) for a, b in zip(own, other, strict=True)]
    assert sum(a == b for a, b in ended) >= same  # the end token is among both
    assert not list((tmp_path / "vllm").glob(".policy-*"))


def test_samples_have_the_decoders_accuracy_and_repeat_with_the_seed(tmp_path, policy):
    own, _ = evaluate(tmp_path / "cpu", policy, "cpu", num_samples=8)
    found, first = evaluate(tmp_path / "vllm", policy, "vllm", num_samples=8, batch_size=64)
    _, again = evaluate(tmp_path / "again", policy, "vllm", num_samples=8)
    assert first == again  # in other batches too
    # Two means of 400 samples differ by less than 4 standard errors of 0.5 * sqrt(2 / 400).
    for name, value in own.items():
        assert found[name] == pytest.approx(value, abs=4 * 0.5 * math.sqrt(2 / 400))
    texts = [line["completion"] for line in first]
    assert len(set(texts[:8])) > 1
    assert len({tuple(texts[i : i + 8]) for i in range(0, len(texts), 8)}) == NUM_PROBLEMS


def test_an_engine_of_an_evaluation_leaves_the_runs_process_group(tmp_path, policy):
    where = f"file://{tmp_path}/meet"
    torch.distributed.init_process_group("gloo", init_method=where, rank=0, world_size=1)
    try:
        torch.manual_seed(5)
        expected = torch.rand(())
        torch.manual_seed(5)
        evaluate(tmp_path / "vllm", policy, "vllm", num_samples=1)
        assert torch.rand(()) == expected
        assert torch.distributed.is_initialized()
        torch.distributed.all_reduce(torch.ones(1))
        evaluate(tmp_path / "again", policy, "vllm", num_samples=1)
    finally:
        torch.distributed.destroy_process_group()


def test_two_ranks_evaluate_twice_each_with_a_vllm_of_its_own(tmp_path):
    script = Path(__file__).parents[2] / "support" / "two_vllm_ranks.py"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [
        subprocess.Popen(
            [sys.executable, str(script), str(tmp_path)],
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    printed = [process.communicate(timeout=600)[0].splitlines() for process in started]
    found = [[line for line in lines if line.startswith("evaluated")] for lines in printed]
    assert len(found[0]) == 2
    assert found[0] == found[1]
    assert found[0][0] == found[0][1]  # equal seeds, equal weights
    assert found[0][0].startswith("evaluated [0, 1] [")


def test_rlrt_trains_with_trls_colocated_engine(tmp_path):
    script = Path(__file__).parents[2] / "support" / "vllm_on_cpu.py"
    command = [sys.executable, str(script), str(tmp_path), "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    steps = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"loss"')]
    assert len(steps) == 2
    assert '{"engine": "vllm"}' in done.stdout  # the evaluations sampled with TRL's own
    assert all(step["grad_norm"] > 0 and 0.3 < step["reward"] < 0.9 for step in steps)
