"""A text without its thinking: as a grader reads it, and `s \\ think` as a teacher is shown it."""

import pytest
from lab_llm.problems import MARKED, Problem, shown_without_thinking, without_thinking


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


@pytest.mark.parametrize(
    ("solution", "shown"),
    [
        ("<think>a</think>\n\nb", "b"),
        ("Let me see. <think>a</think> b", "Let me see. b"),
        ("<think>a</think>b <think>c</think>d", "b d"),
        ("opened by the prompt</think>\nb", "b"),
        ("<think>a</think>b</think>c", "c"),
        ("<think>a</think>b <think>c", "b <think>c"),
        # nothing ends, or nothing else is there: all of it is shown, and counted as unmarked
        ("<think>it never ends", None),
        ("Let me see. <think>a", None),
        ("<think>a</think>", None),
        ("<think>a</think>\n\n", None),
        ("It is 6.", None),
    ],
)
def test_a_teacher_is_shown_all_but_the_thinking_that_ends(solution, shown):
    assert shown_without_thinking(solution) == shown
    assert MARKED.without_thinking(Problem("a", (), "6"), solution) == shown
