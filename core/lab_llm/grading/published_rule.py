"""The training reward of the published code of arXiv 2603.24472 (the SDPO trainer's `math`).

Read in its source, and written anew here: the last 100 characters of the response are looked at,
whatever stands in them, thinking or not. The last `\\\\boxed{` there must be closed. The box must
equal the gold as text, or math-verify, called with its defaults on the two bare texts, must find
them equal. The published code ends the latter by an alarm after 5 s; here the process that grades
has a limit of 5 s of CPU time. Its format penalty is switched off in the published settings and is
left out.
"""

import logging

TAIL_CHARS = 100
"""The box must stand wholly in so much of the response's end."""

_BOX = "\\boxed{"


def prepare() -> None:
    """Import math-verify, which takes seconds, before any answer is graded."""
    _equal_by_math_verify("x", "x^2")


def reward(gold: str, completion: str) -> float:
    """1.0 iff the box at the completion's end holds `gold` as text or by math-verify, else 0.0."""
    boxed = _boxed_at_the_end(completion[-TAIL_CHARS:])
    if not boxed:
        return 0.0
    return float(boxed == gold or _equal_by_math_verify(gold, boxed))


def _boxed_at_the_end(tail: str) -> str:
    """What the tail's last box holds; '' where there is none, or it is not closed."""
    start = tail.rfind(_BOX)
    if start < 0:
        return ""
    depth = 0
    for place in range(start, len(tail)):
        depth += {"{": 1, "}": -1}.get(tail[place], 0)
        if depth == 0 and tail[place] == "}":
            return tail[start + len(_BOX) : place]
    return ""


def _equal_by_math_verify(gold: str, boxed: str) -> bool:
    from math_verify import parse, verify

    # It warns at every start that the timeouts are off.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    gold_parts = parse(gold, parsing_timeout=None)  # pyrefly: ignore[bad-argument-type]
    boxed_parts = parse(boxed, parsing_timeout=None)  # pyrefly: ignore[bad-argument-type]
    return verify(gold_parts, boxed_parts, timeout_seconds=None)
