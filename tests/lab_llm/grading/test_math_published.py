"""The published training reward: a box at the end, equal as text or by math-verify."""

import pytest
from lab_llm.grading.published_rule import reward


@pytest.mark.parametrize(
    ("gold", "completion", "earned"),
    [
        ("7", "so \\boxed{7}", 1.0),
        ("7", "so \\boxed{8}", 0.0),
        ("7", "so the answer is 7", 0.0),
        ("1/2", "\\boxed{0.5}", 1.0),
        ("\\text{east}", "\\boxed{\\text{east}}", 1.0),
        ("7", "\\boxed{7} and \\boxed{8", 0.0),
        ("7", "\\boxed{7} as asked, \\boxed{}", 0.0),
        # The box must stand wholly in the last 100 characters: 9 + 91, then 9 + 92.
        ("7", "\\boxed{7}" + "." * 91, 1.0),
        ("7", "\\boxed{7}" + "." * 92, 0.0),
        # The published code does not look at the marks of thinking.
        ("7", "<think>\\boxed{7}", 1.0),
    ],
)
def test_the_published_reward(gold, completion, earned):
    assert reward(gold, completion) == earned
