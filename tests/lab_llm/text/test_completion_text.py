"""The one text of a completion: without special tokens, with the marks of thinking."""

import json
import shutil

import pytest
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.tiny_model import CHAT_TEMPLATE, shipped_path
from lab_llm.policy.tokenizer_files import load_tokenizer
from lab_llm.text.completion_text import completion_text

TEXT = "<think>wait 5</think>ans 5"


def tokenizer_with(tmp_path, *, special=(), plain=(), template=None, response_template=None):
    path = shutil.copytree(shipped_path(), tmp_path / "model")
    tokenizer = load_tokenizer(PolicyConfig(name=str(path)))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", *special]})
    tokenizer.add_tokens(list(plain))
    tokenizer.chat_template = template or CHAT_TEMPLATE
    tokenizer.save_pretrained(path)
    if response_template is not None:
        file = path / "tokenizer_config.json"
        settings = json.loads(file.read_text()) | {"response_template": response_template}
        file.write_text(json.dumps(settings))
    return load_tokenizer(PolicyConfig(name=str(path)))


def ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.fixture(scope="module")
def tiny():
    return load_tokenizer(PolicyConfig())


@pytest.mark.parametrize("text", ["5+2-1", " a  b\n", TEXT, "", "\n<think>\nhmm"])
def test_of_a_plain_tokenizer_it_is_the_decoded_text(tiny, text):
    found = ids(tiny, text + "<|im_end|>")
    assert completion_text(tiny, found) == text
    assert completion_text(tiny, found) == tiny.decode(found, skip_special_tokens=True)
    prompt = ids(tiny, "<|im_start|>user\n5<|im_end|>\n<|im_start|>assistant\n")
    assert completion_text(tiny, found, prompt_ids=prompt) == text


@pytest.mark.parametrize(
    "how",
    [
        {"special": ("<think>", "</think>")},
        {"special": ("</think>",)},
        {"special": ("<think>",)},
        {"plain": ("<think>", "</think>")},
        {},
    ],
)
def test_marks_of_thinking_stay_whatever_tokens_they_are(tmp_path, how):
    tokenizer = tokenizer_with(tmp_path, **how)
    assert completion_text(tokenizer, ids(tokenizer, f"{TEXT}<|im_end|><|pad|>")) == TEXT


@pytest.mark.parametrize(
    "marks",
    [
        ("[THINK]", "[/THINK]"),
        ("<|begin_of_thought|>", "<|end_of_thought|>"),
        ("<seed:think>", "</seed:think>"),
        ("<thinking>", "</thinking>"),
        ("<reasoning>", "</reasoning>"),
    ],
)
def test_other_marks_of_thinking_stay_too(tmp_path, marks):
    tokenizer = tokenizer_with(tmp_path, special=(*marks, "<|other|>"))
    text = f"{marks[0]}wait{marks[1]}5"
    assert completion_text(tokenizer, ids(tokenizer, f"{text}<|other|><|im_end|>")) == text


def test_a_response_template_changes_nothing(tmp_path):
    parts = {"defaults": {"role": "assistant"}, "fields": {}}
    tokenizer = tokenizer_with(tmp_path, plain=("</think>",), response_template=parts)
    assert completion_text(tokenizer, ids(tokenizer, TEXT + "<|im_end|>")) == TEXT
    open_end = "<think>wait 5"
    assert completion_text(tokenizer, ids(tokenizer, open_end)) == open_end


OPENED = "<|im_start|>user\n5<|im_end|>\n<|im_start|>assistant\n<think>"


@pytest.mark.parametrize("special", [(), ("<think>", "</think>")])
@pytest.mark.parametrize("end", ["", "\n", "\n\n", " "])
def test_where_the_prompt_opened_thinking_the_text_begins_with_it(tmp_path, special, end):
    tokenizer = tokenizer_with(tmp_path, special=special)
    prompt = ids(tokenizer, OPENED + end)
    cut_off = ids(tokenizer, "so it may be $7$")
    assert completion_text(tokenizer, cut_off, prompt_ids=prompt) == "<think>\nso it may be $7$"
    ended = ids(tokenizer, "so</think>7<|im_end|>")
    assert completion_text(tokenizer, ended, prompt_ids=prompt) == "<think>\nso</think>7"
    again = ids(tokenizer, "<think>so</think>7")
    assert completion_text(tokenizer, again, prompt_ids=prompt) == "<think>so</think>7"


@pytest.mark.parametrize(
    "prompt",
    [
        "<|im_start|>user\n<think><|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>user\n5<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
        "<|im_start|>system\nThink in <think> </think>.<|im_end|>\n<|im_start|>assistant\n",
        "",
    ],
)
def test_thinking_that_the_prompt_closed_or_only_mentions_is_not_open(tiny, prompt):
    prompt_ids = ids(tiny, prompt) if prompt else []
    assert completion_text(tiny, ids(tiny, "5+2"), prompt_ids=prompt_ids) == "5+2"


def test_what_a_template_writes_behind_its_open_mark_is_seen(tmp_path):
    template = CHAT_TEMPLATE + "{% if add_generation_prompt %}<think>\nFirst, {% endif %}"
    tokenizer = tokenizer_with(tmp_path, template=template)
    prompt = ids(tokenizer, OPENED + "\nFirst, ")
    assert completion_text(tokenizer, ids(tokenizer, "5+2"), prompt_ids=prompt) == "<think>\n5+2"
