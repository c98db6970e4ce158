"""`s \\ think`: what is left of a text without its thinking."""

import pytest
from lab_llm.problems import without_thinking


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<think>a</think>b", "b"),
        ("a</think>b</think>c", "c"),
        ("<think>a</think>b</think>c", "c"),
        ("<think>a</think>b<think>c</think>d", "d"),
        ("I write <think> here</think> The answer is $7$.", "The answer is $7$."),
        ("<think>I write </think> here</think> The answer is $7$.", "The answer is $7$."),
        ("<think>so it may be $7$", ""),
        ("<think>I write <think> here", ""),
        ("<think>a</think>", ""),
        ("a</think>", ""),
        ("<think>a</think>\n\n", ""),
        ("<think>a</think>b <think>c", "b"),
        ("Let me see. <think>a", "Let me see."),
    ],
)
def test_what_follows_the_last_end_of_the_thinking_is_left(text, left):
    assert without_thinking(text) == left


@pytest.mark.parametrize("text", ["", "It is 6.", "It is <think>6</think>.", "a < b > c"])
def test_a_text_that_marks_no_thinking_has_none(text):
    assert without_thinking(text) is None
