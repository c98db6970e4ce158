"""Teacher contexts and token ids of chats."""

import pytest
from lab_llm.policy.tiny_model import TinyModelConfig, train_tokenizer
from lab_llm.text.prompts import (
    COUNTDOWN_TEMPLATE,
    SOLUTION_TEMPLATE,
    encode,
    teacher_template,
    with_solution,
)
from labrun.errors import LabError

PROMPT = ({"role": "system", "content": "s"}, {"role": "user", "content": "nums 5 2 1 make 6"})


def test_the_solution_enters_the_last_message_alone():
    made = with_solution(PROMPT, "5+2-1", COUNTDOWN_TEMPLATE)
    assert made == [PROMPT[0], {"role": "user", "content": "nums 5 2 1 make 6\nref: 5+2-1"}]
    assert with_solution(PROMPT, "S", SOLUTION_TEMPLATE)[-1]["content"] == (
        "nums 5 2 1 make 6\nCorrect solution:\n\nS\n\nCorrectly solve the original question."
    )
    assert PROMPT[-1]["content"] == "nums 5 2 1 make 6"


def test_braces_and_placeholders_in_the_texts_are_text():
    prompt = [{"role": "user", "content": "the set {1} or {solution}?"}]
    made = with_solution(prompt, "\\frac{1}{2} {prompt} {0}", "{solution} | {prompt}")
    assert made[0]["content"] == "\\frac{1}{2} {prompt} {0} | the set {1} or {solution}?"


@pytest.mark.parametrize("template", ["{prompt}", "{solution}", "", "{prompt}{prompt}{solution}"])
def test_a_template_needs_both_placeholders_once(template):
    with pytest.raises(LabError, match="must hold "):
        with_solution(PROMPT, "s", template)


@pytest.mark.parametrize("prompt", [[], [*PROMPT, {"role": "assistant", "content": "6"}]])
def test_the_user_comes_last(prompt):
    with pytest.raises(LabError, match="must come from the user"):
        with_solution(prompt, "s", COUNTDOWN_TEMPLATE)


def test_the_teachers_template_is_the_given_one_or_the_models():
    assert teacher_template("{prompt} {solution}", model="tiny") == "{prompt} {solution}"
    assert teacher_template("", model="tiny") == "{prompt}\nref: {solution}"
    assert teacher_template("", model="smollm2") == (
        "{prompt}\nCorrect solution:\n\n{solution}\n\nCorrectly solve the original question."
    )


def test_a_chat_is_encoded_up_to_the_assistants_turn():
    tokenizer = train_tokenizer(["nums 5 2 1 make 6"], TinyModelConfig())
    ids = encode(tokenizer, PROMPT)
    assert all(type(token) is int for token in ids)
    assert tokenizer.decode(ids) == (
        "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nnums 5 2 1 make 6<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
