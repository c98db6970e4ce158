"""Where the final answer lies: behind the thinking, in boxes, tags and sentences."""

import time

import pytest
from lab_llm.grading.final_answer import extract_answer, final_answer, last_boxed, usable_boxes
from lab_llm.grading.math_rule import reward

RIGHT = [
    ("7", "<think>maybe \\boxed{5}</think> The answer is 7."),
    ("6", "maybe \\boxed{5}</think> So \\boxed{6}"),
    ("4", "<think>a</think>\\boxed{4}<think>no, \\boxed{5}"),
    ("4", "<think>a</think>b</think>\\boxed{4}"),
    ("7", "I write <think> here</think> The answer is $7$."),
    ("3,5", "$\\boxed{3}$ and $\\boxed{5}$"),
    ("3,5", "\\boxed{3}, \\boxed{5}"),
    ("3,5", "\\boxed{3} or \\boxed{5}"),
    ("3,5", "$x=\\boxed{3}$ and $x=\\boxed{5}$"),
    ("3,5", "\\boxed{5} and \\boxed{3}"),
    ("1,2,3", "\\boxed{1}, \\boxed{2}, and \\boxed{3}"),
    ("3,5", "\\[\\boxed{3}\\quad\\text{and}\\quad\\boxed{5}\\]"),
    ("3,5", "\\boxed{3,5}"),
    ("7", "\\boxed{7} and \\boxed{7}"),
    ("7", "first \\boxed{5}, no: \\boxed{7}"),
    ("7", "\\boxed{5}\nWait, I made a mistake and must correct this.\n\\boxed{7}"),
    ("7", "\\boxed{5}\n\n\\boxed{7}"),
    ("5,7", "\\boxed{5}\n\n\\boxed{7}"),
    ("5", "The answer is \\boxed{5}. As asked, in \\boxed{}."),
    ("5", "\\boxed{5} in the form \\boxed{...}"),
    ("5", "\\boxed{5} and then \\boxed{never closed"),
    ("5", "\\boxed{5} \\boxed{ }"),
    ("5", "\\boxed{5} \\boxed{\\text{answer}}"),
    ("5", "\\boxed{5} as \\boxed{your answer}"),
    ("5", "\\boxed{5} as \\boxed{\\ldots}"),
    ("5", "Put it in \\boxed{answer}. The answer is 5."),
    ("5", "\\boxed{5}, I mean \\boxed{?}"),
    ("5", "\\fbox{5}"),
    ("5", "\\boxed 5"),
    ("5", "\\boxed{\\boxed{5}}"),
    ("5", "\\boxed{\n5\n}"),
    ("5", "\\boxed {5}"),
    ("5", "\\\\boxed{5}"),
    ("{1,2}", "\\boxed{\\{1,2\\}}"),
    ("\\{1,2\\}", "\\boxed{\\left\\{1,2\\right\\}}"),
    ("5", "<answer>5</answer>"),
    ("5", "<answer>\\boxed{5}</answer>"),
    ("5", "<answer>$5$</answer>"),
    ("6", "<answer>5</answer> <answer>6</answer>"),
    ("5", "<answer>5</answer> <answer></answer>"),
    ("5", "<answer>The answer is 5</answer>"),
    ("7", "\\boxed{5} so <answer>7</answer>"),
    ("yes", "The answer is yes."),
    ("yes", "The answer is **Yes**."),
    ("B", "The answer is (B)."),
    ("B", "Answer: B"),
    ("B", "**Answer:** B"),
    ("B", "The correct answer is B."),
    ("B", "The answer is **B) 12**"),
    ("B", "The correct option is B."),
    ("50\\%", "The answer is 50%."),
    ("84", "the final answer is $84$."),
    ("84", "Final Answer: 84"),
    ("84", "Answer: $84$"),
    ("84", "### Answer\n84"),
    ("84", "#### 84"),
    ("84", "The answer is\n$$84$$"),
    ("84", "The answer is:\n\\[84\\]"),
    ("3.5", "The answer is 3.5."),
    ("3.5", "The answer is 3.5. I am sure."),
    ("5", "The answer is 5, because 2+3=5."),
    ("5", "The answer is not 3 but 5."),
    ("5", "The answer is not 3. The answer is 5."),
    ("5", "The answer is not 3.5, it is 5"),
    ("5", "The answer cannot be 3. So it is 5."),
    ("7", "The answer is not 5 and so the answer is 7."),
    ("7", "The answer isn't 5 because the answer is 7."),
    ("7", "The answer is not 5: the answer is 7."),
    ("7", "The final answer is not $5$ - the answer is $7$"),
    ("not possible", "The answer is not possible."),
    ("\\frac{1}{2}", "The answer is $\\frac{1}{2}$."),
    ("1/2", "The answer is 1/2"),
    ("7", "It is 7."),
    ("7", "so the answer is 7"),
    ("5", "I got 5 apples, so the answer is 5 apples."),
    ("Paris", "The answer is Paris."),
    ("5", "The answer to the question is 5."),
    ("5", "So the answer should be 5!"),
    ("12", "The answer: 12 cm"),
    ("1000", "The answer is 1 000."),
    ("10", "We use $\\binom{5}{2}$. Since $x^2=100$, the answer is 10."),
    ("12345", "The lcm is computed above. The final answer is $12345$."),
    ("84", "Since gcd(2^2*3, 7)=1, the final answer is $84$."),
    ("$12$", "\\boxed{12}"),
    ("\\boxed{12}", "\\boxed{12}"),
]
WRONG = [
    ("5", "<think>maybe \\boxed{5}</think> I am not sure."),
    ("5", "<think>maybe \\boxed{5}</think> The answer is 7."),
    ("5", "<think>try \\boxed{5}? let me go on"),
    ("7", "<think>so it may be $7$"),
    ("5", "maybe \\boxed{5}</think> I am not sure."),
    ("5", "maybe \\boxed{5}</think> So \\boxed{6}"),
    ("5", "Let me see. <think>\\boxed{5} but"),
    ("5", "<think>a</think>\\boxed{4}<think>no, \\boxed{5}"),
    ("5", "<think>a</think>\\boxed{5}</think>\\boxed{4}"),
    ("5", "<think>5</think>"),
    ("5", "<think>\\boxed{5}</think>\n\n"),
    ("5", "$\\boxed{3}$ and $\\boxed{5}$"),
    ("3", "$\\boxed{3}$ and $\\boxed{5}$"),
    ("5", "first \\boxed{5}, no: \\boxed{7}"),
    ("5", "\\boxed{5}\n\n\\boxed{7}"),
    ("5", "Put it in \\boxed{answer}. The answer is 6."),
    ("6", "<think>x</think><answer>5</answer>"),
    ("5", "<think><answer>5</answer></think> I do not know"),
    ("yes", "The answer is no."),
    ("6", "The answer is not 6."),
    ("6", "The answer isn't 6."),
    ("6", "The answer cannot be $6$."),
    ("B", "The answer is not (B)."),
    ("3", "The answer is not 3 but 5."),
    ("3.5", "The answer is not 3.5, it is 5"),
    ("B", "The answer is (C)."),
    ("50\\%", "The answer is 40%."),
    ("3", "The answer is 5, because 2+3=5."),
    ("0", "The answer is 1 000."),
    ("yes", "The answer is sey."),
    ("7", ""),
    ("7", "no idea"),
    ("7", "\\boxed{"),
    ("7", "\\boxed{}"),
    ("", ""),
    ("", "\\boxed{}"),
    ("7", "\\boxed{\\frac{{{{}\x00 \xfc"),
]


@pytest.mark.parametrize(("gold", "completion"), RIGHT)
def test_the_final_answer_counts(gold, completion):
    assert reward(gold, completion) == 1.0


@pytest.mark.parametrize(("gold", "completion"), WRONG)
def test_nothing_else_counts(gold, completion):
    assert reward(gold, completion) == 0.0


def test_long_answers_are_compared_as_text():
    digits = "7" * 600
    assert reward(digits, f"\\boxed{{{digits}}}") == 1.0
    assert reward("7", f"\\boxed{{{digits}}}") == 0.0
    assert reward("7", "\\begin{matrix}" * 50) == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{" * 20_000,
        "\\boxed{}" * 20_000,
        "\\boxed{1} and " * 20_000,
        "\\boxed{" * 20_000 + "}" * 20_000,
        "\\boxed" + " " * 100_000,
        "<answer>" * 20_000,
        "<answer></answer>" * 20_000,
        "<think>" * 20_000,
        "<think></think>" * 20_000,
        "{" * 100_000,
        "\\" * 100_000,
    ],
    ids=str.__len__,
)
def test_extraction_takes_time_in_proportion_to_the_text(text):
    began = time.process_time()
    final_answer(text)
    extract_answer(text)
    assert time.process_time() - began < 2


def test_a_box_is_closed_and_holds_more_than_a_placeholder():
    assert last_boxed("a \\boxed{1} b \\boxed{\\frac{1}{2}} c") == "\\frac{1}{2}"
    assert last_boxed("\\boxed{1} \\boxed{2") == "1"
    assert last_boxed("\\boxed{1} \\boxed{}") == "1"
    assert last_boxed("\\boxed{\\boxed{3}+2}") == "\\boxed{3}+2"
    assert last_boxed("\\boxed{\\left\\{ 1 \\right.}") == "\\left\\{ 1 \\right."
    assert last_boxed("none") is None
    assert [box.content for box in usable_boxes("\\boxed{1} \\fbox{2} \\boxed{...}")] == ["1", "2"]


def test_a_reasoning_gym_answer_lies_behind_the_thinking():
    assert extract_answer("<think><answer>1</answer></think>so\n2") == "2"
    assert extract_answer("<think>\\boxed{1} and on") == ""
    assert extract_answer("1</think><answer>2</answer>") == "2"
    assert extract_answer("<answer>1</answer> <answer></answer>") == "1"
    assert extract_answer("<think>3</think>it is 4.", bare="number") == "4"
