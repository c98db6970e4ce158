"""Where the final answer of a completion lies: behind the thinking, in a box, tag or sentence."""

import re
from dataclasses import dataclass

from lab_llm.problems import THINK_END, THINK_START, without_thinking

MAX_TAIL_CHARS = 2000
"""Without a box or tag, the answer is looked for in this much of the completion's end."""

_BOX_TOKEN = re.compile(r"\\{1,2}f?boxed\s*\{|\\{1,2}fbox\s*\{|\\.|[{}]", re.DOTALL)
_BARE_BOX = re.compile(r"\\f?boxed\s*(\\?[^\s{}$\\]+)")
_BETWEEN_BOXES = re.compile(
    r"(?:\s|\$|\\[()\[\],;!]|\\q?quad|~|\*|[A-Za-z](?:_\{?\w\}?)?\s*=|[,;&]|\\text\{\s*(?:and|or)\s*\}|"
    r"\b(?:and|or|also)\b){0,24}"
)
_JOINS_BOXES = re.compile(r"[,;&]|\band\b|\bor\b|\balso\b")
_PLACEHOLDER = re.compile(
    r"(?i)(?:\\text|\\mathrm)?\s*[\{<\[(]*\s*(?:\.{2,}|…|\\[lc]?dots|\?+|_+|\\square|\\cdot|\\s?quad|\\_|~|"
    r"(?:your|the|my|insert|final|numerical|correct|[\s_-])*(?:answer|result|solution)"
    r"(?:[\s_-]*(?:here|goes here))?|)\s*[\}>\])]*\s*\.?"
)
_ANSWER_PHRASE = re.compile(
    r"(?i)(?:\banswers?\b(?:\s+(?:to|of|for)\b[^.\n:=]{0,60}?)?"
    r"(?:[\s*_]*(?::|=)|"
    r"\s+(?:is|are|must be|should be|will be|would be|equals|becomes)\b(?:[\s*_]*:)?)|"
    r"^\#{4}\s)[\s*_:]*",
    re.MULTILINE,
)
_OPTION = re.compile(r"(?i:\b(?:option|choice))\s+(?:is\s+)?(?=[(*]*[A-Z]\b)")
_SENTENCE_END = re.compile(r"\n|(?<!\\)[.!?](?=[\s*_\"'`)\]]|$)|[.](?=\$|\\\))")
_DISPLAY = re.compile(r"(\$\$.{1,1000}?\$\$|\\\[.{1,1000}?\\\]|\$[^$\n]{1,1000}\$)", re.DOTALL)
_AFTERTHOUGHT = re.compile(
    r"(?<!\s)(?:\s*[,;(]\s*|\s+)(?:(?:because|since|which|where|as|not|so|but|when|for|if|hence|by)\b|"
    r"i\.e\b|is\s+(?:the\s+)?(?:correct|right)\b)"
)
_ALTERNATIVES = re.compile(r"(?i)\b(?:or|either)\b")
_DENIED = re.compile(r"^not\b[^.\n]{0,100}?\bbut\s+(?:rather\s+)?", re.IGNORECASE)
_DENIAL = re.compile(
    r"(?i:\banswers?\s+(?:is\s+not|isn['\u2019]t|cannot\s+be|can['\u2019]t\s+be))\s+"
    r"(?=[*_(]*(?:[$\\]|[-+]?[\d.]|[A-Z]\b))(?![^.\n]*\bbut\b)(?:(?!\banswer\b)[^\n.!?,;]|\.\d)*"
)
"""`the answer is not 6`, up to the end of the clause or to a further answer; `not possible` may be
an answer."""
_PROSE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}\s+[^\s]")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_THINKING = re.compile(f"{THINK_START}.*?{THINK_END}", re.DOTALL)


@dataclass(frozen=True)
class FinalAnswer:
    """What a completion answers.

    `readings`: the marked answer, as one or more texts that each stand for it; empty where nothing
    marks it. `prose`: text that may hold the answer between words, '' where a mark settles it.
    """

    readings: tuple[str, ...]
    prose: str


@dataclass(frozen=True)
class _Mark:
    start: int
    end: int
    content: str


def answer_part(completion: str) -> str:
    """What follows the thinking; the whole text where no mark of thinking stands in it."""
    answer = without_thinking(completion)
    return _THINKING.sub("", completion if answer is None else answer)


def final_answer(completion: str) -> FinalAnswer:
    """Where the answer lies, behind the thinking: the last box or tag, else a sentence.

    Boxes that only `and`, `or` or a comma join are one answer of several parts. An empty box, a box
    that holds a placeholder (`...`, `answer`), and one that is never closed are no answers.
    """
    text = answer_part(completion)
    boxes, tag = usable_boxes(text), _last_tag(text)
    if tag is not None and (not boxes or boxes[-1].start < tag.end):
        inside = [box for box in boxes if box.start > tag.start]
        return FinalAnswer(_boxed_readings(inside, text) or (tag.content,), "")
    if boxes:
        return FinalAnswer(_boxed_readings(boxes, text), "")
    bare = list(_BARE_BOX.finditer(text[-MAX_TAIL_CHARS:]))
    if bare:
        return FinalAnswer((bare[-1][1].rstrip(".,;:"),), "")
    return _in_a_sentence(text[-MAX_TAIL_CHARS:])


def last_boxed(text: str) -> str | None:
    """What the last usable \\boxed{} holds, braces balanced; None where there is none."""
    boxes = usable_boxes(text)
    return boxes[-1].content if boxes else None


def usable_boxes(text: str) -> list[_Mark]:
    """The closed boxes that hold more than a placeholder, outermost ones, in one pass."""
    opened: list[tuple[int, int] | None] = []
    boxes: list[_Mark] = []
    for token in _BOX_TOKEN.finditer(text):
        if token[0].endswith("{") and token[0] != "\\{":
            opened.append((token.start(), token.end()) if len(token[0]) > 1 else None)
        elif token[0] == "}" and opened and (box := opened.pop()) is not None:
            start, content_start = box
            while boxes and boxes[-1].start > start:
                boxes.pop()
            boxes.append(_Mark(start, token.end(), text[content_start : token.start()]))
    return [box for box in boxes if not is_placeholder(box.content)]


def is_placeholder(content: str) -> bool:
    """Whether a box or tag holds nothing, or only the word or dots that stand for an answer."""
    return len(content) < 60 and _PLACEHOLDER.fullmatch(" ".join(content.split())) is not None


def _boxed_readings(boxes: list[_Mark], text: str) -> tuple[str, ...]:
    if not boxes:
        return ()
    parts, joined = [boxes[-1]], False
    for box in reversed(boxes[:-1]):
        between = text[box.end : parts[-1].start]
        if len(between) > 60 or _BETWEEN_BOXES.fullmatch(between) is None:
            break
        joined = joined or _JOINS_BOXES.search(between) is not None
        parts.append(box)
    contents = list(dict.fromkeys(part.content.strip() for part in reversed(parts)))
    if len(contents) == 1:
        return (contents[0],)
    together = ",".join(contents)
    return (together,) if joined else (together, contents[-1])


def _last_tag(text: str) -> _Mark | None:
    """The last <answer></answer> that holds more than a placeholder."""
    close = text.rfind("</answer>")
    while close >= 0:
        start = text.rfind("<answer>", 0, close)
        if start < 0:
            return None
        content = text[start + len("<answer>") : close].strip()
        if not is_placeholder(content):
            return _Mark(start, close + len("</answer>"), content)
        close = text.rfind("</answer>", 0, start)
    return None


def _in_a_sentence(text: str) -> FinalAnswer:
    text = _DENIAL.sub("", text)
    phrases = [list(phrase.finditer(text)) for phrase in (_OPTION, _ANSWER_PHRASE)]
    for phrase in [*reversed(phrases[1]), *reversed(phrases[0])]:
        said = _said(text[phrase.end() :])
        if said:
            short = _AFTERTHOUGHT.split(said, maxsplit=1)[0].strip()
            readings = tuple(dict.fromkeys(part for part in (said, short) if part))
            settled = _ALTERNATIVES.search(said) or not _PROSE.search(said)
            return FinalAnswer(readings, "" if settled else text[phrase.start() :])
    alone = text.strip()
    lines = alone.splitlines()
    readings = (_unmarked(lines[-1]),) if lines and len(lines[-1]) <= 100 else ()
    return FinalAnswer(readings, alone)


def _said(text: str) -> str:
    """The answer that follows 'the answer is', up to the end of the sentence."""
    text = text.lstrip()
    text = _DENIED.sub("", text)
    display = _DISPLAY.match(text)
    if display and _SENTENCE_END.match(text[display.end() :].lstrip(" ,;*") or "\n"):
        return _unmarked(display[0])
    end = _SENTENCE_END.search(text)
    return _unmarked(text[: end.start()] if end else text)


def _unmarked(text: str) -> str:
    return text.strip().strip("*_`\"' \t").strip()


def extract_answer(completion: str, *, bare: str = "line") -> str:
    """The answer to a reasoning-gym task, stripped; it lies behind the thinking.

    The last <answer></answer>; else the last \\boxed{}; else, with `bare` "line", the last line
    that isn't empty, with "number" the last number; where there is none, the empty text.
    """
    text = answer_part(completion)
    tag = _last_tag(text)
    if tag is not None:
        return tag.content
    boxed = last_boxed(text)
    if boxed is not None:
        return boxed.strip()
    if bare == "number":
        numbers = _NUMBER.findall(text)
        return numbers[-1] if numbers else ""
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""
