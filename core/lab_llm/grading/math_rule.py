"""The rule of mathematics: whether a completion's final answer equals the gold (docs/grading.md).

Right answers are meant to pass however they are written, wrong ones to fail however near they are.
A grading may take for ever on an expression that is hard to compute; the process that grades has
the limit.
"""

from functools import lru_cache

from lab_llm.grading.equality import same_form
from lab_llm.grading.exact import exact_number
from lab_llm.grading.final_answer import final_answer, last_boxed
from lab_llm.grading.normal_form import alternatives, form
from lab_llm.grading.symbolic import parsed, parsed_prose, same_expression

MAX_ANSWER_CHARS = 500
"""A longer answer is compared as text; it bounds what the parser is given."""


def prepare() -> None:
    """Import the parser, which takes seconds, before any answer is graded."""
    same_answer("x", "x^2")


def reward(gold: str, completion: str) -> float:
    """1.0 iff the completion's final answer equals `gold`, else 0.0."""
    gold = _inner(gold)
    if not gold:
        return 0.0
    answer = final_answer(completion)
    if any(same_answer(gold, reading) for reading in answer.readings):
        return 1.0
    return float(bool(answer.prose) and _said_in(gold, answer.prose))


def same_answer(gold: str, answer: str) -> bool:
    """Whether an answer, as it stands in a box, equals the gold."""
    if gold == answer.strip():
        return True
    if max(len(gold), len(answer)) > MAX_ANSWER_CHARS:
        return "".join(gold.split()) == "".join(answer.split())
    if gold.isdecimal() and gold.isascii() and answer.strip().isdecimal():
        return int(gold) == int(answer)
    return any(same_form(g, a) for g in alternatives(gold) for a in alternatives(answer))


@lru_cache(maxsize=4096)
def _inner(gold: str) -> str:
    boxed = last_boxed(gold)
    return (gold if boxed is None else boxed).strip()


def _said_in(gold: str, prose: str) -> bool:
    """Whether the answer that math-verify finds between the words equals the gold."""
    if len(gold) > MAX_ANSWER_CHARS:
        return False
    wanted = form(gold)
    decimal = exact_number(wanted.text)
    return any(
        same_expression(one, said, decimal=decimal)
        for said in parsed_prose(prose)
        for one in parsed(wanted.text)
    )
