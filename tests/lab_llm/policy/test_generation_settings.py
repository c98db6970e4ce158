"""Sampling has the run's settings alone, and completions end with the model's tokens."""

import dataclasses
import json
import shutil

import pytest
import torch
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.engine import Sampling, Share
from lab_llm.policy.facts import policy_facts
from lab_llm.policy.generation_settings import ignored
from lab_llm.policy.policy import load_policy, save_policy
from lab_llm.policy.tiny_model import shipped_path
from lab_llm.policy.tokenizer_files import load_tokenizer
from lab_llm.sampling.batch_engines import DecoderEngine, TransformersEngine, end_tokens
from lab_llm.text.prompts import SOLUTION_TEMPLATE
from labrun.errors import LabError

PROMPTS = [[5, 6, 7], [8, 9], [10, 11, 12, 13]]
ACTING = [
    {"repetition_penalty": 1.3},
    {"no_repeat_ngram_size": 2},
    {"min_new_tokens": 6, "min_length": 8},
    {"suppress_tokens": list(range(3, 200))},
    {"begin_suppress_tokens": list(range(3, 200))},
    {"num_beams": 4, "length_penalty": 2.0, "early_stopping": True},
    {"min_p": 0.9},
    {"typical_p": 0.2},
    {"epsilon_cutoff": 0.3, "eta_cutoff": 0.3},
    {"top_k": 1},
    {"temperature": 0.01},
    {"top_p": 0.01},
    {"do_sample": False},
    {"stop_strings": ["5"]},
    {"bad_words_ids": [[20], [21]]},
    {"sequence_bias": [[[20], 10.0]]},
    {"forced_bos_token_id": 9, "forced_eos_token_id": 2},
    {"exponential_decay_length_penalty": [1, 9.0]},
    {"max_length": 4, "max_new_tokens": 2, "max_time": 1e-9},
    {"penalty_alpha": 0.6, "top_k": 4},
    {"guidance_scale": 3.0},
    {"return_dict_in_generate": True, "output_scores": True},
    {"num_return_sequences": 3, "do_sample": True},
    {"renormalize_logits": True, "temperature": 0.5},
]


@pytest.fixture
def model(tmp_path):
    return shutil.copytree(shipped_path(), tmp_path / "model")


def edit(path, **values):
    """Set the values in a JSON file; None takes one out."""
    old = json.loads(path.read_text()) if path.exists() else {}
    new = {key: value for key, value in (old | values).items() if value is not None}
    path.write_text(json.dumps(new))


def sampling(**changed):
    how = Sampling(
        num_samples=2,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        max_new_tokens=6,
        batch_size=8,
        end_token_ids=(2,),
    )
    return dataclasses.replace(how, **changed)


GREEDY = {"temperature": 0.0, "num_samples": 1}


def completions(policy, *, engine=TransformersEngine, **changed):
    return engine(policy).sample(
        PROMPTS, sampling(**changed), seed=3, share=Share(), beat=lambda: None
    )


@pytest.fixture(scope="module")
def expected():
    policy = load_policy(PolicyConfig())
    return completions(policy), completions(policy, **GREEDY)


@pytest.mark.parametrize("settings", ACTING, ids=lambda settings: next(iter(settings)))
def test_settings_of_the_models_file_do_not_act(model, expected, settings):
    edit(model / "generation_config.json", **settings)
    policy = load_policy(PolicyConfig(name=str(model)))
    assert (completions(policy), completions(policy, **GREEDY)) == expected
    own = policy.model.generation_config.to_diff_dict()
    assert set(own) <= {"bos_token_id", "eos_token_id", "pad_token_id", "transformers_version"}


def test_settings_that_a_model_got_later_do_not_act_either(expected):
    policy = load_policy(PolicyConfig())
    before = policy.model.generation_config
    before.repetition_penalty, before.min_p, before.num_beams = 1.3, 0.9, 3
    assert (completions(policy), completions(policy, **GREEDY)) == expected
    assert policy.model.generation_config is before
    assert before.repetition_penalty == 1.3


def test_settings_in_config_json_as_older_models_have_them_do_not_act(model, expected):
    (model / "generation_config.json").unlink()
    edit(model / "config.json", repetition_penalty=1.3, max_length=4, no_repeat_ngram_size=2)
    policy = load_policy(PolicyConfig(name=str(model)))
    assert (completions(policy), completions(policy, **GREEDY)) == expected
    assert policy_facts(PolicyConfig(name=str(model)))["ignored"] == (
        "config.json: repetition_penalty=1.3, max_length=4, no_repeat_ngram_size=2"
    )


def test_greedy_completions_are_the_decoders(expected):
    policy = load_policy(PolicyConfig())
    assert completions(policy, engine=DecoderEngine, **GREEDY) == expected[1]


def test_what_is_left_aside_is_a_fact(model):
    assert "ignored" not in policy_facts(PolicyConfig(name=str(model)))
    edit(model / "generation_config.json", repetition_penalty=1.3, do_sample=True, top_p=1.0)
    facts = policy_facts(PolicyConfig(name=str(model)))
    assert facts["ignored"] == "generation_config.json: repetition_penalty=1.3, do_sample=True"
    assert ignored(shipped_path()) == ""


def test_a_saved_policy_has_its_end_tokens_and_no_other_setting(model, tmp_path):
    edit(model / "generation_config.json", eos_token_id=[2, 5], repetition_penalty=1.3)
    policy = load_policy(PolicyConfig(name=str(model)))
    assert end_tokens(policy) == (2, 5)
    save_policy(policy, tmp_path / "saved", template=SOLUTION_TEMPLATE)
    written = json.loads((tmp_path / "saved/generation_config.json").read_text())
    assert written["eos_token_id"] == [2, 5]
    assert "repetition_penalty" not in written
    assert end_tokens(load_policy(PolicyConfig(name=str(tmp_path / "saved")))) == (2, 5)


def test_damaged_settings_are_named(model):
    (model / "generation_config.json").write_text("{")
    with pytest.raises(LabError, match=r"generation_config\.json is damaged"):
        policy_facts(PolicyConfig(name=str(model)))


# End tokens


def without_end(model, *, tokenizer=False, generation=False, config=False):
    if tokenizer:
        edit(model / "tokenizer_config.json", eos_token=None)
    if generation:
        edit(model / "generation_config.json", eos_token_id=None)
    if config:
        edit(model / "config.json", eos_token_id=None)
    return PolicyConfig(name=str(model))


@pytest.mark.parametrize("generation", [True, False])
def test_a_tokenizer_without_an_end_token_gets_the_models(model, generation):
    config = without_end(model, tokenizer=True, generation=generation)
    policy = load_policy(config)
    assert policy.tokenizer.eos_token_id == 2
    assert policy.model.generation_config.eos_token_id == 2
    assert end_tokens(policy) == (2,)
    assert load_tokenizer(config).eos_token == "<|im_end|>"


def test_a_model_without_an_end_token_has_its_tokenizers(model):
    policy = load_policy(without_end(model, generation=True, config=True))
    assert policy.model.generation_config.eos_token_id == 2
    assert end_tokens(policy) == (2,)


@pytest.mark.parametrize("pad", [True, False])
def test_where_no_token_ends_a_completion_the_model_is_refused(model, pad):
    if not pad:
        edit(model / "tokenizer_config.json", pad_token=None)
    config = without_end(model, tokenizer=True, generation=True, config=True)
    with pytest.raises(LabError, match=r"no token ends a completion: .*write it there") as caught:
        policy_facts(config)
    assert "\n" not in str(caught.value)
    with pytest.raises(LabError, match="no token ends a completion"):
        load_policy(config)


@pytest.mark.parametrize("ends", [[], [None], "2", 2.5, -1, True, [2, "x"]])
def test_end_tokens_that_are_none_are_refused(model, ends):
    edit(model / "tokenizer_config.json", eos_token=None)
    edit(model / "config.json", eos_token_id=None)
    edit(model / "generation_config.json", eos_token_id=ends)
    with pytest.raises(LabError, match=r"no token ends|allowed: a token id, or a list of these"):
        policy_facts(PolicyConfig(name=str(model)))


def test_an_end_token_that_the_model_cannot_make_is_refused(model):
    edit(model / "tokenizer_config.json", eos_token="<|end_of_all|>")
    edit(model / "generation_config.json", eos_token_id=900)
    edit(model / "config.json", eos_token_id=900)
    with pytest.raises(LabError, match=r"its end tokens \[\d+, 900\] are not among its 296 tokens"):
        policy_facts(PolicyConfig(name=str(model)))


def test_a_pad_token_beyond_the_models_rows_is_refused(model):
    edit(model / "tokenizer_config.json", pad_token="<|padding|>")
    with pytest.raises(
        LabError, match=r"pad token '<\|padding\|>' is token \d+, the model has 296"
    ):
        policy_facts(PolicyConfig(name=str(model)))


# Heads


def weights(model):
    from safetensors.torch import load_file

    return load_file(model / "model.safetensors")


def test_untied_weights_without_a_head_are_refused_before_work(model):
    from safetensors.torch import save_file

    policy_facts(PolicyConfig(name=str(model)))
    edit(model / "config.json", tie_word_embeddings=False)
    with pytest.raises(LabError, match=r"tie_word_embeddings=false, .* no output layer") as caught:
        policy_facts(PolicyConfig(name=str(model)))
    assert "\n" not in str(caught.value)
    head = weights(model) | {"lm_head.weight": torch.zeros(296, 64)}
    save_file(head, model / "model.safetensors", metadata={"format": "pt"})
    policy_facts(PolicyConfig(name=str(model)))


def test_shards_without_a_head_are_refused_whatever_their_index_says(model):
    names = dict.fromkeys([*weights(model), "lm_head.weight"], "model.safetensors")
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    edit(model / "config.json", tie_word_embeddings=False)
    with pytest.raises(LabError, match=r"no output layer \(lm_head\.weight\)"):
        policy_facts(PolicyConfig(name=str(model)))
