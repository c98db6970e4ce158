"""What is known of a colocated vLLM before a run: its longest sequence, and whether it has room."""

from functools import partial

import pytest
import torch
from lab_llm.datasets.countdown import CountdownDataset
from lab_llm.datasets.countdown_config import CountdownConfig
from lab_llm.evaluation.accuracy import AccuracyEvaluator
from lab_llm.evaluation.config import AccuracyConfig
from lab_llm.planning import estimates, grpo_settings
from lab_llm.planning import vllm as vllm_plan
from lab_llm.planning.estimates import GIB
from lab_llm.planning.shapes import shape_of_model
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.policy import known_by_files, load_policy
from lab_llm.text.prompts import encode
from lab_llm.training.config import GRPOSettings
from lab_llm.training.engines import ENGINES
from lab_llm.training.run import trl_config
from lab_llm.training.trained_policy import load_trained
from lab_llm.training.vllm_length import longest_sequence
from labrun import LabError, Setup
from labrun.config.experiments import compose
from labrun.runs import run_dir
from labrun.runs.context import RunContext

QWEN = PolicyConfig(name="Qwen/Qwen3-8B")
INSTRUCT = PolicyConfig(name="Qwen/Qwen3-4B-Instruct-2507", dtype="bfloat16")


@pytest.fixture(scope="module")
def sets():
    return CountdownDataset(CountdownConfig()).sets


@pytest.fixture(scope="module")
def policy():
    return known_by_files(PolicyConfig())


def settings(**changed):
    return GRPOSettings(sampler="vllm", **changed)


def facts(settings, setup, policy, sets):
    needs = vllm_plan.needs(settings, setup, policy, sets)
    return {} if needs is None else needs.facts()


def longest_prompt(policy, problems):
    return max(len(encode(policy.tokenizer, problem.prompt)) for problem in problems)


def test_vllm_needs_weights_and_one_sequence_by_hand():
    parts = estimates.vllm_bytes(shape_of_model(QWEN), length=10240, dtype="bfloat16")
    assert parts["weights"] == 2 * 8_190_735_360
    # 36 layers, keys and values of 8 heads of 128, 2 bytes: 147,456 bytes a token
    assert parts["sequence"] == 10240 * 147_456


def test_the_longest_sequence_is_that_of_a_rollout_or_of_an_evaluation(policy, sets):
    prompt = longest_prompt(policy, sets.train)
    short = settings(max_completion_length=64)
    assert longest_sequence(policy, sets, short, []) == prompt + 64
    assert longest_sequence(policy, sets, settings(max_prompt_length=100), []) == 100 + 64
    evaluator = AccuracyEvaluator(AccuracyConfig(max_new_tokens=500))
    scored = [problem for found in sets.evaluation.values() for problem in found]
    assert longest_sequence(policy, sets, short, [evaluator, object()]) == (
        longest_prompt(policy, scored) + 500
    )
    assert longest_sequence(policy, sets, settings(max_completion_length=9999), []) == 1024


def test_a_length_below_what_the_run_samples_is_refused(policy, sets):
    setup = Setup(evaluators={"accuracy": AccuracyEvaluator(AccuracyConfig(max_new_tokens=500))})
    with pytest.raises(LabError, match=r"^trainer\.vllm_max_model_length=128: .* up to 5\d\d tok"):
        facts(settings(vllm_max_model_length=128), setup, policy, sets)
    known = facts(settings(vllm_max_model_length=800), setup, policy, sets)
    assert known["vllm_max_model_length"] == 800


def test_a_model_that_is_not_here_is_planned_by_prompt_and_completion_not_its_whole_context():
    asked = settings(model=INSTRUCT, max_prompt_length=2048, max_completion_length=8192)
    known = facts(asked, Setup(), None, None)
    assert known["vllm_max_model_length"] == 10240  # its context has 262,144
    assert known["vllm_needs_gib"] == (
        "9.9 (weights 7.49, sequence 1.41, work 1), the least that a share of 0.3 must hold"
    )


@pytest.mark.parametrize(("gib", "refused"), [(80, False), (24, True), (8, True)])
def test_a_share_of_the_gpu_that_is_too_small_is_refused_in_one_line(cards, gib, refused):
    cards(gib)
    asked = settings(model=INSTRUCT, max_prompt_length=2048, max_completion_length=8192)
    if not refused:
        facts(asked, Setup(), None, None)
        return
    advice = "set it to 0.42" if gib == 24 else "take a larger GPU"
    with pytest.raises(LabError, match=rf"vllm_gpu_memory_utilization=0\.3 .*{advice}") as caught:
        facts(asked, Setup(), None, None)
    assert "\n" not in str(caught.value)


def test_a_run_that_only_evaluates_has_no_vllm_of_the_training(policy, sets):
    setup = Setup(evaluators={"accuracy": AccuracyEvaluator(AccuracyConfig(max_new_tokens=500))})
    asked = settings(max_steps=0, vllm_max_model_length=128, vllm_tensor_parallel_size=3)
    assert facts(asked, setup, policy, sets) == {}


@pytest.mark.parametrize(
    ("here", "asked_gib", "size"),
    [
        ((), 24, "resources.min_gpu_memory_gib's 24 GiB"),
        ((80, 24), 0, "this GPU's 24 GiB"),  # it may get either
        ((80, 24), 40, ""),
        ((8,), 20, "resources.min_gpu_memory_gib's 20 GiB"),
    ],
)
def test_the_share_is_of_the_smallest_gpu_that_the_run_may_get(cards, here, asked_gib, size):
    if here:
        cards(*here)
    asked = settings(model=INSTRUCT, max_prompt_length=2048, max_completion_length=8192)
    setup = Setup(num_gpus=1, min_gpu_memory_gib=asked_gib)
    if not size:
        assert facts(asked, setup, None, None)
        return
    with pytest.raises(LabError, match=rf"vllm_gpu_memory_utilization=0\.3 of {size} is \d"):
        facts(asked, setup, None, None)


def test_the_plan_says_how_many_longest_sequences_the_share_holds():
    asked = settings(model=INSTRUCT, max_prompt_length=2048, max_completion_length=8192)
    known = facts(asked, Setup(num_gpus=1, min_gpu_memory_gib=80), None, None)
    # 0.3 * 80 = 24 GiB less 8.49 of weights and work: 15.5, of 1.41 (10,240 of 147,456 bytes) each
    assert known["vllm_sequences"] == (
        "11 of the longest at once, in a share of 0.3 of resources.min_gpu_memory_gib's 80 GiB"
    )
    assert "vllm_sequences" not in facts(asked, Setup(num_gpus=1), None, None)


def test_a_gpu_that_is_asked_for_and_too_small_is_to_be_raised():
    asked = settings(model=INSTRUCT, max_prompt_length=2048, max_completion_length=8192)
    with pytest.raises(LabError, match=r"; raise resources\.min_gpu_memory_gib, or lower"):
        facts(asked, Setup(num_gpus=1, min_gpu_memory_gib=8), None, None)


@pytest.mark.parametrize("elsewhere", [{"sampler": "cpu"}, {"vllm_mode": "server"}])
def test_nothing_is_planned_where_no_vllm_is_in_the_process(elsewhere):
    asked = GRPOSettings(**{"sampler": "vllm", **elsewhere})
    assert facts(asked, Setup(), None, None) == {}


def test_tensor_parallel_parts_weights_and_the_heads_of_keys_by_hand():
    parts = estimates.vllm_bytes(
        shape_of_model(QWEN), length=10240, dtype="bfloat16", tensor_parallel=4
    )
    assert parts["weights"] == 2 * 8_190_735_360 / 4
    assert parts["sequence"] == 10240 * 147_456 / 4
    # 8 heads of keys on 16 GPUs: one on each
    wide = estimates.vllm_bytes(
        shape_of_model(QWEN), length=1, dtype="bfloat16", tensor_parallel=16
    )
    assert wide["sequence"] == 147_456 / 8


def test_a_vllm_that_sleeps_leaves_the_gpu_to_the_update():
    gpu = partial(estimates.gpu_bytes, 50.0 * GIB, vllm_share=0.5)
    assert gpu() == 100 * GIB
    assert gpu(sleeps_beside=20 * GIB) == 51 * GIB  # its graphs stay
    assert gpu(sleeps_beside=30 * GIB) == 60 * GIB  # while it samples


@pytest.mark.parametrize(
    ("processes", "size", "allowed"),
    [(8, 3, "1, 2, 4"), (8, 8, "1, 2, 4"), (1, 2, "1"), (8, 4, None), (12, 4, None)],
)
def test_a_size_that_does_not_divide_ranks_or_heads_is_refused(processes, size, allowed):
    distilled = PolicyConfig(name="deepseek-ai/DeepSeek-R1-Distill-Qwen-7B")  # 28 heads, 4 of keys
    asked = settings(model=distilled, vllm_tensor_parallel_size=size)
    setup = Setup(num_processes=processes)
    if allowed is None:
        assert facts(asked, setup, None, None)
        return
    with pytest.raises(LabError, match=f"vllm_tensor_parallel_size={size} .*allowed: {allowed};"):
        facts(asked, setup, None, None)


@pytest.mark.parametrize(
    "key", [{"vllm_enable_sleep_mode": True}, {"vllm_tensor_parallel_size": 2}]
)
def test_what_only_a_vllm_in_the_process_can_do_is_refused_of_a_server(key):
    asked = settings(vllm_mode="server", **key)
    with pytest.raises(LabError, match=rf"^trainer\.{next(iter(key))}=.*vllm_mode=colocate$"):
        ENGINES["vllm"].check_settings(asked)
    ENGINES["vllm"].check_settings(settings(**key))


@pytest.mark.parametrize("sampler", ["cpu", "transformers"])
def test_what_is_asked_of_a_vllm_that_is_not_used_is_refused(sampler):
    for key, value in (("vllm_enable_sleep_mode", True), ("vllm_tensor_parallel_size", 2)):
        with pytest.raises(LabError, match=rf"{key}=.* is for a vLLM, and .*={sampler} has none"):
            grpo_settings.plan(GRPOSettings(sampler=sampler, **{key: value}))


def test_more_rollouts_than_trls_engine_takes_are_refused_before_the_run(policy, sets):
    many = settings(prompts_per_step=1024, num_generations=8)
    with pytest.raises(LabError, match=r"8192 rollouts a batch in each vLLM, .* at most 4096"):
        facts(many, Setup(), policy, sets)
    facts(many, Setup(num_processes=2), policy, sets)


def test_a_temperature_that_vllm_does_not_take_is_refused():
    with pytest.raises(LabError, match=r"^trainer\.temperature=2\.5: vLLM takes at most 2"):
        ENGINES["vllm"].check_settings(settings(temperature=2.5))
    ENGINES["cpu"].check_settings(GRPOSettings(temperature=2.5))


def test_trls_engine_is_told_its_precision(monkeypatch):
    from trl.generation import vllm_generation

    opened = []
    monkeypatch.setattr(vllm_generation, "LLM", lambda **words: opened.append(words), raising=False)
    with ENGINES["vllm"].opening(settings()):
        vllm_generation.LLM(model="m")
    vllm_generation.LLM(model="m")
    assert opened == [{"model": "m", "dtype": "float32"}, {"model": "m"}]


def test_a_policy_with_masters_samples_in_the_precision_of_its_products():
    asked = GRPOSettings(model=PolicyConfig(dtype="bfloat16"))
    policy = load_trained(asked, max_steps=1)
    assert (policy.model.dtype, policy.products) == (torch.float32, "bfloat16")


@pytest.mark.parametrize("trusts", [True, False])
def test_both_vllms_trust_a_models_code_as_the_settings_do(tmp_path, trusts):
    model = PolicyConfig(trust_remote_code=trusts)
    run = run_dir.create(compose(["plugin=rlrt"]), root=tmp_path)
    ctx = RunContext(run=run, seed=0, attempt=0, devices=(), resume_from=None, keep_checkpoints=1)
    assert trl_config(ctx, GRPOSettings(model=model)).trust_remote_code is trusts
    assert load_policy(model).trusts_code is trusts
