"""The least time of a training: its operations as torch counts them, its traffic by hand."""

import json
from dataclasses import replace
from importlib.resources import files

import pytest
import torch
from lab_llm.planning import least_time
from lab_llm.planning.least_time import GPU, least_seconds
from lab_llm.planning.shapes import shape_of
from lab_llm.training.config import GRPOSettings, TrainedWeights
from labrun.plan import Setup
from model_shapes import SMALL
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM

SLOW = GPU("slow", {"float32": 1000.0}, 100.0)
"""A thousand operations and a hundred bytes a second."""
SETTINGS = GRPOSettings(
    max_steps=6, num_minibatches=2, prompts_per_step=4, num_generations=2, max_completion_length=5
)


def test_operations_of_a_pass_are_those_that_torch_counts():
    fields = json.loads((files("lab_llm") / "data/tiny/config.json").read_text())
    config = AutoConfig.for_model(fields.pop("model_type"), **fields)
    shape = shape_of(config.to_dict())
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    length = 12
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, length, dtype=torch.long), use_cache=False)
    whole = 4 * shape.num_layers * shape.num_heads * shape.head_dim * length**2
    rotary = counter.get_total_flops() - (least_time.forward_flops(shape, length) + whole / 2)
    assert 0 <= rotary <= 2 * shape.head_dim * length  # of the angles, once for all layers


def test_a_pass_by_hand():
    # layers 2 * 8 * (16 + 16 + 8 + 8 + 30), head 8 * 100; attention 2 * 2 * 16 * 25
    assert least_time.forward_flops(SMALL, 5) == 2 * (1248 + 800) * 5 + 1600
    assert least_time.weight_bytes_read(SMALL, dtype="bfloat16") == 2 * 2048
    # keys and values of a token 2 * 2 * 8 * 2 bytes
    assert least_time.cached_bytes_read(SMALL, 5, dtype="bfloat16") == 64 * 12.5


def test_three_batches_of_eight_rollouts_by_hand():
    parts = least_seconds(SETTINGS, SMALL, SLOW, num_processes=2)
    assert parts["training"] == pytest.approx(3 * (12 * 22080) / 1000)
    cached, weights = 12 * 128 * 12.5, 3 * 5 * 4 * 2048
    assert parts["sampling"] == pytest.approx((cached + weights) / 100)


def test_arithmetic_binds_where_memory_is_fast():
    fast = GPU("fast", SLOW.flops, 1e12)
    parts = least_seconds(SETTINGS, SMALL, fast, num_processes=2)
    assert parts["sampling"] == pytest.approx(parts["training"] / 3)


@pytest.mark.parametrize(
    ("change", "training", "has_sampling"),
    [
        ({"gradient_checkpointing": True}, 4 / 3, True),
        ({"sampler": "vllm"}, 1, True),
        ({"sampler": "vllm", "vllm_mode": "server"}, 1, False),  # which has GPUs of its own
    ],
)
def test_what_changes_the_parts(change, training, has_sampling):
    before = least_seconds(SETTINGS, SMALL, SLOW, num_processes=1)
    changed = replace(SETTINGS, **change)
    after = least_seconds(changed, SMALL, SLOW, num_processes=1)
    assert after["training"] == pytest.approx(training * before["training"])
    assert ("sampling" in after) is has_sampling


def test_a_short_run_and_one_without_gpus_have_no_line(monkeypatch):
    long = replace(SETTINGS, max_steps=2 * 10**9)
    assert least_time.facts(Setup(num_gpus=1), SETTINGS, SMALL) == {}
    assert least_time.facts(Setup(), long, SMALL) == {}
    assert least_time.facts(Setup(num_gpus=1), long, None) == {}
    monkeypatch.setattr(least_time, "gpu_of_run", lambda _: SLOW)
    (line,) = least_time.facts(Setup(num_processes=2), long, SMALL).values()
    assert "on 2 slow (sampling" in line


@pytest.mark.parametrize(
    ("here", "found"),
    [("", "H100"), ("NVIDIA H200", "H200"), ("NVIDIA A100-SXM4-80GB", "A100"), ("Tesla T4", None)],
)
def test_the_gpu_that_is_here_counts_and_an_h100_where_none_is(monkeypatch, here, found):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(here))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: here)
    known = least_time.gpu_of_run(Setup(num_gpus=8))
    assert (known and known.name) == found


def test_gpus_that_share_a_model_divide_its_weights():
    tiny = {"batches": 1, "length": 5, "dtype": "float32", "rollouts": 0.0}
    alone, shared = (
        least_time.sampling_seconds(SMALL, SLOW, tensor_parallel=size, **tiny) for size in (1, 2)
    )
    assert (alone, shared) == (5 * 4 * 2048 / 100, 5 * 4 * 2048 / 200)


def test_fine_tuning_by_hand(monkeypatch):
    monkeypatch.setattr(least_time, "gpu_of_run", lambda _: SLOW)
    monkeypatch.setattr(least_time, "shape_of_model", lambda _: SMALL)
    setup, settings = Setup(num_processes=2, num_gpus=2), TrainedWeights()

    def hours(num_sampled):
        (line,) = least_time.fine_tuning_facts(
            setup, settings, num_sampled=num_sampled, num_trained=600, max_completion_length=5
        ).values()
        return str(line)

    # 300 rollouts of 3 passes of 22,080 operations: 19,872 s; read of 2,000: 128 * 12.5 bytes
    # each and 5 times 4 * 2,048 of the weights: 32,409.6 s; their operations: 44,160 s
    assert hours(4000).startswith("17.8 on 2 slow (sampling 12.3, training 5.52), every")
    assert hours(0).startswith("5.52 on 2 slow (training 5.52), every")
