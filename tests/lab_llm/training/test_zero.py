"""A DeepSpeed configuration must say what the trainer's keys say."""

import json

import pytest
from lab_llm.policy.config import PolicyConfig
from lab_llm.training.config import GRPOSettings
from lab_llm.training.microbatches import optimizer_step
from lab_llm.training.zero import check_zero_file, deepspeed_path, offloaded, zero_stage
from labrun import LabError


def checked(settings: GRPOSettings, num_processes: int) -> None:
    step = optimizer_step(settings, num_processes)
    check_zero_file(settings, step, num_processes=num_processes)


WHOLE = {
    "zero_optimization": {"stage": 2},
    "bf16": {"enabled": "auto"},
    "data_types": {"grad_accum_dtype": "fp32"},
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
}


def settings(tmp_path, entries, **keys) -> GRPOSettings:
    """A file of WHOLE with these entries; None takes one out."""
    path = tmp_path / "zero.json"
    found = {name: value for name, value in (WHOLE | entries).items() if value is not None}
    path.write_text(json.dumps(found))
    model = PolicyConfig(dtype=keys.pop("dtype", "bfloat16"))
    return GRPOSettings(
        deepspeed=str(path),
        model=model,
        prompts_per_step=8,
        num_generations=4,
        micro_batch_size=4,
        **keys,
    )


@pytest.mark.parametrize("name", ["zero2", "zero3"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_shipped_files_take_every_key_and_add_gradients_up_in_float32(name, dtype):
    chosen = GRPOSettings(deepspeed=name, model=PolicyConfig(dtype=dtype))
    checked(chosen, 4)
    assert zero_stage(chosen) == int(name[-1])
    with open(deepspeed_path(chosen)) as file:
        assert json.load(file)["data_types"] == {"grad_accum_dtype": "fp32"}


@pytest.mark.parametrize(
    ("entries", "refused"),
    [
        ({"bf16": {"enabled": False}}, r"bf16.enabled=false contradicts trainer.model.dtype"),
        ({"bf16": None}, r"bf16.enabled=false \(absent\) contradicts trainer.model.dtype, .* true"),
        ({"fp16": {"enabled": True}}, r"fp16.enabled=true contradicts"),
        ({"train_micro_batch_size_per_gpu": 8}, r"=8 contradicts .*micro_batch_size.* it 4"),
        ({"gradient_accumulation_steps": 8}, r"=8 contradicts .* makes it 4"),
        ({"train_batch_size": 256}, r"=256 contradicts trainer.prompts_per_step.* makes it 32"),
        ({"gradient_clipping": 0.5}, r"=0.5 contradicts trainer.max_grad_norm"),
        ({"optimizer": {"params": {"lr": 1e-3}}}, r"optimizer.params.lr=0.001 contradicts"),
        (
            {"gradient_accumulation_steps": None},
            r"gradient_accumulation_steps=1 \(absent\) contradicts .* makes it 4",
        ),
        (
            {"train_micro_batch_size_per_gpu": None},
            r'neither train_batch_size nor .* add "train_micro_batch_size_per_gpu": "auto"$',
        ),
        ({"data_types": None}, r"grad_accum_dtype is absent: .* not be added up in float32"),
        ({"data_types": {"grad_accum_dtype": "bf16"}}, r'grad_accum_dtype is "bf16": .*fp32"}$'),
        ({"data_types": "fp32"}, r'data_types="fp32"; allowed: an object'),
    ],
)
def test_what_contradicts_a_key_is_named(tmp_path, entries, refused):
    with pytest.raises(LabError, match=refused):
        checked(settings(tmp_path, entries), 2)


def test_what_agrees_is_taken(tmp_path):
    agreed = {"bf16": {"enabled": True}, "train_micro_batch_size_per_gpu": 4}
    agreed |= {"gradient_accumulation_steps": 4, "train_batch_size": 32, "gradient_clipping": 1.0}
    checked(settings(tmp_path, agreed), 2)
    bare = {"bf16": None, "data_types": None}
    checked(settings(tmp_path, bare, dtype="float32"), 2)
    whole = {"train_micro_batch_size_per_gpu": None, "train_batch_size": 32}
    checked(settings(tmp_path, whole), 2)
    checked(settings(tmp_path, {"data_types": {"grad_accum_dtype": "float32"}}), 2)


def test_a_clip_that_the_file_does_not_name_is_deepspeeds(tmp_path):
    checked(settings(tmp_path, {}), 2)
    with pytest.raises(LabError, match=r"gradient_clipping=1\.0 \(absent\) contradicts .* it 0\.5"):
        checked(settings(tmp_path, {}, max_grad_norm=0.5), 2)


def test_the_file_says_what_stays_off_the_gpu(tmp_path):
    entries = {
        "stage": 3,
        "offload_optimizer": {"device": "cpu"},
        "offload_param": {"device": "none"},
    }
    chosen = settings(tmp_path, {"zero_optimization": entries})
    assert offloaded(chosen) == {"optimizer"}
    assert offloaded(GRPOSettings(deepspeed="zero3")) == offloaded(GRPOSettings()) == frozenset()


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("{bad", r"it is no JSON: Expecting property name"),
        ("[1, 2]", r"no zero_optimization\.stage in it$"),
        ('{"zero_optimization": 3}', r"no zero_optimization\.stage in it$"),
        ('{"zero_optimization": {"stage": 9}}', r"stage=9; allowed: 0, 1, 2, 3$"),
        ('{"zero_optimization": {"stage": true}}', r"stage=true; allowed: 0, 1, 2, 3$"),
        ('{"zero_optimization": {"stage": "two"}}', r'stage="two"; allowed: 0, 1, 2, 3$'),
        ('{"zero_optimization": {"stage": 2}, "bf16": true}', r"bf16=true; allowed: an object"),
        ('{"zero_optimization": {"stage": 2}, "scheduler": {}}', r"in place of the trainer's own"),
        (
            '{"zero_optimization": {"stage": 2}, "optimizer": {"type": "SGD"}}',
            r'optimizer\.type="SGD"; allowed: AdamW, Adam;',
        ),
    ],
)
def test_a_file_that_deepspeed_could_not_follow_is_refused_in_one_line(tmp_path, text, refused):
    path = tmp_path / "zero.json"
    path.write_text(text)
    with pytest.raises(LabError, match=rf"^trainer\.deepspeed={path}: .*{refused}") as caught:
        checked(GRPOSettings(deepspeed=str(path)), 1)
    assert "\n" not in str(caught.value)
