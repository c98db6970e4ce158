"""Where the answer lies in a completion."""

import re

_ANSWER_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def last_boxed(text: str) -> str | None:
    """What the last \\boxed{} holds that is closed, braces balanced; None where there is none."""
    for match in reversed(list(re.finditer(r"\\f?boxed\s*\{", text))):
        depth = 1
        for end in range(match.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if depth == 0:
                return text[match.end() : end]
    return None


def extract_answer(completion: str, *, bare: str = "line") -> str:
    """The answer to a reasoning-gym task, stripped.

    The last <answer></answer>; else the last \\boxed{}; else, with `bare` "line", the last line
    that isn't empty, with "number" the last number; where there is none, the empty text.
    """
    tagged = _ANSWER_TAG.findall(completion)
    if tagged:
        return tagged[-1].strip()
    boxed = last_boxed(completion)
    if boxed is not None:
        return boxed.strip()
    if bare == "number":
        numbers = _NUMBER.findall(completion)
        return numbers[-1] if numbers else ""
    lines = completion.strip().splitlines()
    return lines[-1].strip() if lines else ""
