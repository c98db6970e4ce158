"""Estimates against values worked out by hand, and against a model that is there."""

import dataclasses
from functools import partial
from importlib.resources import files
from itertools import accumulate

import pytest
import torch
from lab_llm.planning import estimates
from lab_llm.planning.estimates import GIB, ModelShape
from lab_llm.planning.process_memory import shown
from lab_llm.planning.shapes import shape_of
from lab_llm.planning.sizes import NO_TEACHER, TeacherSize, gpu_parts, memory
from lab_llm.policy.config import PolicyConfig
from lab_llm.sampling.sampler import sample
from lab_llm.training.config import GRPOSettings
from lab_llm.training.distillation import compare_hidden
from lab_llm.training.distillation_config import DistillationConfig
from model_shapes import SMALL
from torch.profiler import ProfilerActivity
from transformers import AutoConfig, AutoModelForCausalLM


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


@pytest.mark.parametrize(
    ("offloaded", "left"),
    [(set(), (20, 40, 120, 20)), ({"optimizer"}, (20, 0, 0, 20)), ({"param"}, (0, 40, 120, 0))],
)
def test_what_deepspeed_offloads_is_not_on_the_gpu(offloaded, left):
    state = estimates.state_bytes(
        10, dtype="bfloat16", zero_stage=2, num_processes=1, num_copies=1
    ).without(offloaded)
    assert (state.weights, state.gradients, state.optimizer, state.copies) == left


def test_autocast_keeps_a_bfloat16_copy_of_float32_weights():
    state = estimates.state_bytes(10, dtype="float32", zero_stage=0, num_processes=1, autocast=True)
    assert (state.weights, state.gradients, state.optimizer) == (40 + 20, 40, 80)


# A layer keeps of a token 6*8 of norms, 2*(16 + 8) of norms of queries and keys, and 4*16 + 4*10 of
# products: 4*(48 + 48 + 104) = 800 bytes in float32, 16*8 + 6*24 + 2*104 = 480 in bfloat16,
# 26*8 + 6*24 + 2*104 = 560 with autocast.
@pytest.mark.parametrize(
    ("dtype", "autocast", "layer", "size"),
    [("float32", False, 800, 4), ("bfloat16", False, 480, 2), ("bfloat16", True, 560, 4)],
)
def test_activations_by_hand(dtype, autocast, layer, size):
    def found(checkpointing):
        return estimates.activation_bytes(
            SMALL, tokens=3, dtype=dtype, checkpointing=checkpointing, autocast=autocast
        )

    assert found(False) == 3 * 2 * layer
    assert found(True) == 3 * (2 * 8 * size + layer)  # two layers' inputs, and one layer


@pytest.mark.parametrize("kind", ["qwen3", "llama"])
@pytest.mark.parametrize(
    ("dtype", "autocast"), [("float32", False), ("bfloat16", False), ("bfloat16", True)]
)
def test_a_layer_keeps_what_autograd_saves_of_it(kind, dtype, autocast):
    sizes = {"hidden_size": 32, "intermediate_size": 48, "vocab_size": 64, "head_dim": 16}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2}
    two, three = (
        saved_bytes(kind, sizes | {"num_hidden_layers": n}, dtype, autocast) for n in (2, 3)
    )
    shape = shape_of(sizes | {"num_hidden_layers": 1, "model_type": kind}, num_parameters=1)
    assert shape is not None
    planned = estimates.layer_bytes(shape, dtype=dtype, autocast=autocast)
    assert planned == pytest.approx((three - two) / NUM_TOKENS, rel=0.03)


NUM_TOKENS = 4 * 256


def saved_bytes(kind, sizes, dtype, autocast):
    """What autograd saves in a forward pass, without weights and mask."""
    config = AutoConfig.for_model(
        kind, **sizes, pad_token_id=0, eos_token_id=2, max_position_embeddings=512
    )
    precision = torch.float32 if autocast else getattr(torch, dtype)
    model = AutoModelForCausalLM.from_config(config).to(precision).train()
    saved = {}
    ids = torch.randint(3, 60, (4, NUM_TOKENS // 4))
    mask = torch.ones_like(ids)
    mask[0, :5] = 0

    def pack(tensor):
        is_weight = tensor.dim() < 3 and tensor.shape[0] != NUM_TOKENS
        is_mask = tensor.shape[-2:] == ids.shape[1:] * 2
        if not is_weight and not is_mask:
            storage = tensor.untyped_storage()
            saved[storage._cdata] = storage
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast),
    ):
        model.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
    return sum(storage.nbytes() for storage in saved.values())


SMALLER = (1024, 3072, 596_049_920)
LARGER = (2048, 6144, 1_720_574_976)
"""Width, width of the MLP and weights of Qwen3's 0.6B and 1.7B."""


@pytest.mark.parametrize(
    ("model", "dtype", "checkpointing", "has_teacher", "held_gib"),
    [  # benchmarks/results/gpu.json, section memory
        (SMALLER, "float32", False, False, 25.357),
        (SMALLER, "float32", True, False, 10.643),
        (SMALLER, "bfloat16", False, False, 20.819),
        (SMALLER, "bfloat16", True, False, 10.676),
        (SMALLER, "bfloat16", True, True, 17.546),
        (LARGER, "bfloat16", True, False, 29.796),
        (LARGER, "bfloat16", False, False, 46.052),
    ],
)
def test_the_plan_is_within_5_percent_of_what_a_gpu_held(
    model, dtype, checkpointing, has_teacher, held_gib
):
    hidden, mlp, parameters = model
    shape = ModelShape(28, hidden, 16, 8, 128, mlp, 151936, parameters, context_length=1024)
    settings = GRPOSettings(
        model=PolicyConfig(dtype=dtype),
        prompts_per_step=4,
        num_generations=8,
        micro_batch_size=16,
        max_prompt_length=19,
        max_completion_length=256,
        gradient_checkpointing=checkpointing,
    )
    teacher = TeacherSize(1.0, DistillationConfig()) if has_teacher else NO_TEACHER
    planned = memory(settings, shape, 1, teacher)
    assert sum(planned.values()) / GIB == pytest.approx(held_gib, rel=0.05)


@pytest.mark.parametrize(
    ("alpha", "top_k", "clip", "is_mixture"),
    [
        (0.5, 100, None, False),
        (0.5, 100, None, True),
        (0.0, 0, None, False),
        (1.0, 0, 0.05, False),
        (0.5, 0, None, False),
    ],
)
@pytest.mark.parametrize(("width", "autocast"), [(8, False), (64, True)])
def test_a_distillation_takes_what_its_backward_pass_allocates(
    alpha, top_k, clip, is_mixture, width, autocast
):
    """Four chunks of 64 tokens. The graph of what the loss does not read is gone by then."""
    torch.manual_seed(0)
    vocabulary, tokens, chunk = 8_000, 256, 64
    heads = [torch.nn.Linear(width, vocabulary, bias=False) for _ in range(2)]
    student, teacher = torch.randn(tokens, width, requires_grad=True), torch.randn(tokens, width)

    def loss():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            compared = compare_hidden(
                student,
                teacher,
                torch.randint(vocabulary, (tokens,)),
                heads=(heads[0], heads[1]),
                temperature=1.0,
                alpha=alpha,
                top_k=top_k,
                tail=True,
                chunk_size=chunk,
                clip=clip,
            )
        both = compared.divergences + compared.logprobs
        return both.sum() if is_mixture else compared.divergences.sum()

    planned = estimates.distillation_bytes(
        dataclasses.replace(SMALL, vocab_size=vocabulary, hidden_size=width),
        tokens=tokens,
        chunk_size=chunk,
        top_k=top_k,
        alpha=alpha,
        is_mixture=is_mixture,
        autocast=autocast,
    )
    assert planned == pytest.approx(most_allocated(lambda: loss().backward()), rel=0.1)


def most_allocated(work):
    """The most that a piece of work had allocated at once (bytes), as the profiler saw it."""
    with torch.profiler.profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return max(accumulate(event.nbytes() for event in events))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("vocabulary", "num_prompts", "num_samples"), [(200, 16, 16), (8_000, 4, 32)]
)
def test_sampling_takes_the_cache_and_the_logits_that_the_decoder_allocates(
    dtype, vocabulary, num_prompts, num_samples
):
    """In the first case most is the cache, in the second the logits. Every row is as long as can
    be."""
    config = AutoConfig.for_model(
        "qwen3",
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=8,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=128,
    )
    model = AutoModelForCausalLM.from_config(config).to(getattr(torch, dtype))

    def work():
        sample(
            model,
            [[1] * 16] * num_prompts,
            num_samples=num_samples,
            max_new_tokens=48,
            eos_token_ids=[],
            pad_token_id=0,
            generator=torch.Generator().manual_seed(0),
        )

    planned = estimates.sampling_bytes(
        shape_of(config.to_dict()),
        rows=num_prompts * num_samples,
        length=16 + 48,
        dtype=dtype,
        fuses_weights=True,
    )
    assert planned == pytest.approx(most_allocated(work), rel=0.1)


def test_sampling_counts_where_it_takes_more_than_the_update_by_hand():
    """Many long rollouts and a short micro-batch: the cache is more than the activations are."""
    settings = GRPOSettings(
        model=PolicyConfig(dtype="float32"),
        prompts_per_step=8,
        num_generations=8,
        micro_batch_size=1,
        max_prompt_length=10,
        max_completion_length=40,
    )

    def parts(num_processes=1, **changed):
        return memory(dataclasses.replace(settings, **changed), SMALL, num_processes)

    ours = parts()
    cache = 64 * (50 * 2 * 2 * 2 * 4 * 4 + 100 * 12)  # rows (tokens 2 L kv D b + V (b + 8))
    fused = 2 * 8 * (4 * 4 + 2 * 2 * 4 + 2 * 10) * 4  # L h (q + 2 kv + 2 i) b
    rest = ours["gradients"] + ours["activations"] + ours["head"]
    assert ours["rollouts"] == cache + fused - rest
    theirs = parts(sampler="transformers")
    assert theirs["rollouts"] == cache - rest  # it fuses no weights
    halves = parts(num_processes=2)
    assert halves["rollouts"] == cache / 2 + fused - rest
    kept = parts(deepspeed="zero2")  # DeepSpeed holds its gradients
    assert kept["rollouts"] == cache + fused - kept["activations"] - kept["head"]
    assert "rollouts" not in parts(sampler="vllm")
    assert parts(max_completion_length=1, prompts_per_step=1)["rollouts"] == 0
    # more processes than rollouts: each is planned with one
    few = [parts(num_processes=n, prompts_per_step=1, num_generations=4) for n in (4, 8)]
    assert few[0]["activations"] == few[1]["activations"] > 0
    assert few[0]["rollouts"] == few[1]["rollouts"]


def test_sizes_are_shown_without_powers_of_ten():
    assert shown({"a": 2.5 * GIB, "b": 0.0}) == "2.5 (a 2.5)"
    assert shown({"a": 2949.6 * GIB}) == "2,950 (a 2,950)"


def test_the_head_takes_a_tile_of_logits_and_its_gradient_by_hand():
    assert estimates.head_bytes(SMALL, tokens=3) == 4 * (3 * 100 + 8 * 100)
    wide = dataclasses.replace(SMALL, vocab_size=100_000)
    assert estimates.head_bytes(wide, tokens=9999) == 4 * (4096 * 32768 + 8 * 100_000)


def test_the_head_is_computed_in_trls_tiles():
    from trl.kernels.chunked_logprob import TOKEN_CHUNK_SIZE
    from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE

    tile = (estimates.HEAD_TOKENS, estimates.HEAD_VOCABULARY)
    assert tile == (TOKEN_CHUNK_SIZE, _CHUNKED_LOGPROB_CHUNK_SIZE)


def test_vllm_takes_its_share_of_the_whole_gpu():
    assert estimates.gpu_bytes(7 * GIB, vllm_share=0.3) == pytest.approx(10 * GIB)
    assert estimates.gpu_bytes(7 * GIB, vllm_share=0.0) == 7 * GIB
    needy = partial(estimates.gpu_bytes, 7 * GIB, vllm_share=0.25, vllm_needs=4 * GIB)
    assert needy() == 16 * GIB  # the share must hold what vLLM needs
    assert needy(sleeps_beside=GIB) == 16 * GIB


@pytest.mark.parametrize(
    ("needs_gib", "gpu_gib", "vllm_gib", "free_gib"), [(0.5, 20, 5, 0), (8, 32, 8, 9)]
)
def test_the_parts_of_the_gpu_add_up_to_the_least_that_holds_the_process_and_vllm(
    needs_gib, gpu_gib, vllm_gib, free_gib
):
    # a process of 15 GiB beside a share of 0.25: 20; 8 GiB of it: 32, of which 24 are the process's
    settings = GRPOSettings(sampler="vllm", vllm_gpu_memory_utilization=0.25)
    ours = {"weights": 10.0 * GIB, "activations": 5.0 * GIB}
    parts = gpu_parts(settings, ours, vllm_needs=needs_gib * GIB)
    assert parts == ours | {"vllm": vllm_gib * GIB, "free": free_gib * GIB}
    assert sum(parts.values()) == gpu_gib * GIB


def test_of_a_vllm_that_sleeps_its_graphs_stay_on_the_gpu():
    settings = GRPOSettings(
        sampler="vllm", vllm_gpu_memory_utilization=0.5, vllm_enable_sleep_mode=True
    )
    ours = dict.fromkeys(("weights", "gradients", "optimizer", "copies"), 5.0 * GIB)
    parts = gpu_parts(settings, ours, vllm_needs=4 * GIB)
    assert parts == ours | {"vllm, asleep": GIB, "free": 19 * GIB}  # 20 beside a half: 40


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
