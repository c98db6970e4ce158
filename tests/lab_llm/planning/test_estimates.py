"""Estimates against values worked out by hand, and against a model that is there."""

import dataclasses
from importlib.resources import files

import pytest
from lab_llm.planning import estimates
from lab_llm.planning.estimates import GIB, ModelShape
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.config_files import read_settings
from lab_llm.policy.facts import policy_facts
from lab_llm.policy.tiny_model import shipped_path

SMALL = ModelShape(
    num_layers=2,
    hidden_size=8,
    num_heads=4,
    num_kv_heads=2,
    head_dim=4,
    intermediate_size=10,
    vocab_size=100,
    tied=False,
    context_length=64,
)
# q = 16, kv = 8. A layer: 2*8*(16+8) = 384, 3*8*10 = 240, 2*8 = 16, 2*4 = 8; together 648.
# Embeddings 2*100*8 = 1600, the last norm 8: 1600 + 2*648 + 8 = 2904.


def test_parameters_are_counted_by_hand():
    assert estimates.num_parameters(SMALL) == 2904
    biased = dataclasses.replace(SMALL, qkv_bias=True)
    assert estimates.num_parameters(biased) == 2904 + 2 * (16 + 2 * 8)
    # Norms of queries and keys: 8 a layer above, 16 + 8 over all heads, or none.
    over_all = dataclasses.replace(SMALL, qk_norm="all")
    assert estimates.num_parameters(over_all) == 2904 + 2 * (16 + 8 - 8)
    assert estimates.num_parameters(dataclasses.replace(SMALL, qk_norm="none")) == 2904 - 2 * 8


@pytest.mark.parametrize(
    ("model_type", "qk_norm", "qkv_bias"),
    [
        ("qwen3", "head", False),
        ("qwen2", "none", True),
        ("olmo3", "all", False),
        ("llama", "none", False),
    ],
)
def test_the_kind_of_model_says_what_its_attention_has(model_type, qk_norm, qkv_bias):
    sizes = {"num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 4}
    shape = estimates.shape_of(
        sizes | {"intermediate_size": 10, "vocab_size": 100, "model_type": model_type}
    )
    assert shape is not None
    assert (shape.qk_norm, shape.qkv_bias) == (qk_norm, qkv_bias)


def test_parameters_of_the_shipped_model_are_those_of_its_weights():
    shape = estimates.shape_of(read_settings(shipped_path(), "tiny"))
    assert shape is not None
    assert estimates.num_parameters(shape) == policy_facts(PolicyConfig())["parameters"]
    assert shape.context_length == 1024


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("Qwen/Qwen3-4B-Base", 4_022_468_096),
        ("Qwen/Qwen3-8B-Base", 8_190_735_360),
        ("Qwen/Qwen3-1.7B", 1_720_574_976),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", 7_615_616_512),
        ("allenai/Olmo-3-7B-Instruct", 7_298_011_136),
        ("smollm2", 134_515_008),
    ],
)
def test_known_models_have_their_published_size(name, published):
    assert estimates.num_parameters(estimates.KNOWN[name]) == published


def test_a_config_of_another_kind_has_no_shape():
    assert estimates.shape_of({"n_layer": 12, "n_embd": 768}) is None


def test_plain_adamw_keeps_two_moments_in_the_weights_precision():
    state = estimates.state_bytes(10, dtype="float32", zero_stage=0, num_processes=4)
    assert (state.weights, state.gradients, state.optimizer, state.copies) == (40, 40, 80, 0)
    assert state.total == 160
    half = estimates.state_bytes(10, dtype="bfloat16", zero_stage=0, num_processes=1)
    assert (half.weights, half.gradients, half.optimizer) == (20, 20, 40)


@pytest.mark.parametrize(
    ("stage", "parts"),
    [
        (1, (20, 40, 30, 20)),  # 12 * 10 / 4 = 30: the optimizer's part alone
        (2, (20, 10, 30, 20)),  # the gradients as well, in float32: 4 * 10 / 4
        (3, (5, 10, 30, 5)),  # weights and the frozen copy too
    ],
)
def test_zero_divides_what_its_stage_says(stage, parts):
    state = estimates.state_bytes(
        10, dtype="bfloat16", zero_stage=stage, num_processes=4, num_copies=1
    )
    assert (state.weights, state.gradients, state.optimizer, state.copies) == parts


def test_autocast_keeps_a_bfloat16_copy_of_float32_weights():
    state = estimates.state_bytes(10, dtype="float32", zero_stage=0, num_processes=1, autocast=True)
    assert (state.weights, state.gradients, state.optimizer) == (40 + 20, 40, 80)


def test_activations_by_hand():
    # A layer keeps 4*8 + 2*(16+8) + 8 + 16 + 4*10 = 144 numbers a token.
    full = estimates.activation_bytes(SMALL, tokens=3, dtype="bfloat16", checkpointing=False)
    assert full == 2 * 3 * 2 * 144
    # With checkpointing 2 layers' inputs of 8 and one layer: 16 + 144 = 160.
    less = estimates.activation_bytes(SMALL, tokens=3, dtype="bfloat16", checkpointing=True)
    assert less == 2 * 3 * 160


@pytest.mark.parametrize("checkpointing", [False, True])
def test_autocast_keeps_what_passes_through_norms_in_float32(checkpointing):
    # Of a layer's 144 numbers 4*8 are of the norms: 2*144 + 2*32 bytes; its input has 4*8 bytes.
    found = estimates.activation_bytes(
        SMALL, tokens=3, dtype="bfloat16", checkpointing=checkpointing, autocast=True
    )
    layer = 2 * 144 + 2 * 4 * 8
    assert found == 3 * (2 * 4 * 8 + layer if checkpointing else 2 * layer)


def test_logits_and_their_gradient_by_hand():
    assert estimates.logits_bytes(SMALL, tokens=3) == 2 * 4 * 3 * 100


def test_vllm_takes_its_share_of_the_whole_gpu():
    assert estimates.gpu_bytes(7 * GIB, vllm_share=0.3) == pytest.approx(10 * GIB)
    assert estimates.gpu_bytes(7 * GIB, vllm_share=0.0) == 7 * GIB


def test_a_checkpoint_holds_weights_and_optimizer():
    assert estimates.checkpoint_bytes(10, dtype="float32", deepspeed=False) == 40 + 80
    assert estimates.checkpoint_bytes(10, dtype="bfloat16", deepspeed=True) == 20 + 120


def test_work_counts_batches_rollouts_and_tokens():
    todo = estimates.work(
        max_steps=200,
        num_minibatches=2,
        prompts_per_step=256,
        num_generations=8,
        max_completion_length=10,
    )
    assert (todo.batches, todo.rollouts_per_batch, todo.rollouts) == (100, 2048, 204_800)
    assert (todo.tokens_per_batch, todo.tokens) == (20_480, 2_048_000)


@pytest.mark.parametrize("name", ["zero2", "zero3"])
def test_the_shipped_deepspeed_configurations_lie_in_the_package(name):
    assert (files("lab_llm") / "data" / "deepspeed" / f"{name}.json").is_file()
