"""The tiny model's tokenizer, its sizes, and what ships with the package."""

import random

import pytest
import torch
from lab_llm.datasets import countdown as task
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.policy import load_policy
from lab_llm.policy.tiny_model import (
    CHAT_TEMPLATE,
    TinyModelConfig,
    build_model,
    shipped_path,
    train_tokenizer,
)
from lab_llm.text.prompts import encode
from lab_llm.training.warm_start.validation import Measured, measure, validation

TEXTS = ["user\nnums 15 27 1 make 6\nassistant\n15+27=42 no maybe ans 15+27-1"] * 3
CHAT = [{"role": "user", "content": "nums 12 3 make 9"}]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, TinyModelConfig())


@pytest.fixture(scope="module")
def shipped():
    return load_policy(PolicyConfig(name="tiny"))


def test_every_digit_is_a_token_of_its_own(tokenizer):
    assert tokenizer.tokenize("2748=15") == ["2", "7", "4", "8", "=", "1", "5"]
    assert not [t for t in tokenizer.get_vocab() if len(t) > 1 and any(c.isdigit() for c in t)]


def test_any_text_comes_back_as_it_was(tokenizer):
    text = "nums 1 2\n\u00e9\u4f60 \U0001f600 wait , x"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_the_chat_template_marks_roles_and_opens_the_assistants_turn(tokenizer):
    text = tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    assert text == "<|im_start|>user\nnums 12 3 make 9<|im_end|>\n<|im_start|>assistant\n"
    ids = encode(tokenizer, CHAT)
    assert tokenizer.convert_ids_to_tokens(ids[:1]) == ["<|im_start|>"]
    assert ids.count(tokenizer.eos_token_id) == 1


def test_padding_stands_on_the_left(tokenizer):
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == ("<|pad|>", 0)
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("<|im_end|>", 2)
    padded = tokenizer(["1", "12"], padding=True)
    assert [row[0] for row in padded["attention_mask"]] == [0, 1]
    assert padded["input_ids"][0][0] == 0


def test_equal_corpora_give_equal_tokenizers(tokenizer):
    again = train_tokenizer(TEXTS, TinyModelConfig())
    assert again.get_vocab() == tokenizer.get_vocab()
    assert len(tokenizer) <= 300


def test_weights_are_a_pure_function_of_the_seed(tokenizer):
    before = torch.get_rng_state()
    one, same, other = (build_model(tokenizer, TinyModelConfig(), seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)


def test_the_default_sizes_give_the_documented_number_of_parameters(tokenizer):
    # A block: q 64*128, k and v 2 * 64*64, o 128*64, MLP 3 * 64*192, norms 2*64 + 2*32: 61,632.
    # Four blocks, the last norm, and the embedding, which is the head as well.
    model = build_model(tokenizer, TinyModelConfig(), seed=0)
    assert model.num_parameters() == 4 * 61_632 + 64 + 64 * len(tokenizer)
    assert model.config.head_dim == 32
    assert model.config.max_position_embeddings == 1024


def test_the_shipped_model_is_small_float32_and_complete(shipped):
    names = {path.name for path in shipped_path().iterdir()}
    assert names >= {"model.safetensors", "config.json", "tokenizer.json", "CARD.md"}
    assert (shipped_path() / "model.safetensors").stat().st_size < 1_200_000
    assert shipped.model.dtype == torch.float32
    assert shipped.tokenizer.chat_template == CHAT_TEMPLATE
    assert shipped.tokenizer.padding_side == "left"
    assert shipped.tokenizer.tokenize("15+27") == ["1", "5", "+", "2", "7"]


def test_the_shipped_model_leaves_room_to_learn_on_its_validation_split(shipped):
    measured = validation(shipped, num_samples=8, seed=1)
    assert measured.n == 360
    assert 0.45 <= measured.pass_rate <= 0.65


def test_a_reference_makes_the_shipped_model_right_and_confident(shipped):
    problems = task.problems("in_domain", "validation", 45, 0)
    alone = _measure(shipped, problems)
    assert alone.epistemic_words > 0.6
    for richness in task.RICHNESS:
        rng = random.Random(0)
        refs = [
            task.reference(task.identity_of(p), p.solution.split()[-1], richness, rng)
            for p in problems
        ]
        told = _measure(shipped, problems, refs)
        assert told.pass_rate > alone.pass_rate + 0.2
        assert told.epistemic_words < alone.epistemic_words / 2


def _measure(policy, problems, refs=None) -> Measured:
    generator = torch.Generator().manual_seed(0)
    return measure(policy, problems, num_samples=4, generator=generator, refs=refs)
