"""What a level shows of a solution, and the prompt that shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lab_llm.problems import Forms, Problem
from lab_llm.text.prompts import encode, with_solution
from labrun import LabError

from lab_epistemic.richness.config import Level

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


ASKS_THINKING = "evaluator.richness.levels has without_thinking"
ADVICE = "leave the level out, or take a model or solutions that mark it"


@dataclass(frozen=True)
class Shown:
    """A prompt (token ids) and the context in it (None: unguided), cut at its end to fit where
    `truncated`."""

    prompt: Sequence[int]
    context: str | None = None
    truncated: bool = False


def contexts(
    level: Level, problems: Sequence[Problem], solutions: Sequence[str], forms: Forms
) -> dict[int, str | None]:
    """A problem's place -> what `level` shows it (None: nothing); `guided` is not cut from s.

    At `without_thinking` the problems are left out whose solution marks no thinking, or has nothing
    after it. Raises LabError where these are all.
    """
    pairs = list(enumerate(zip(problems, solutions, strict=True)))
    match level:
        case "none":
            return dict.fromkeys(range(len(problems)))
        case "answer":
            return {i: forms.answer(problem, s) for i, (problem, s) in pairs}
        case "solution":
            return dict(enumerate(solutions))
        case "without_thinking":
            cut = {i: forms.without_thinking(problem, s) for i, (problem, s) in pairs}
            if not any(cut.values()):
                raise LabError(
                    f"{ASKS_THINKING}, but none of the {len(cut)} chosen solutions marks its "
                    f"thinking (<think>...</think>) and goes on after it; {ADVICE}; the probes are "
                    "kept in artifacts/richness/probe.jsonl"
                )
            return {i: text for i, text in cut.items() if text}
        case "guided":
            raise ValueError("a guided context is a response, no part of s")


def shown(
    tokenizer: "PreTrainedTokenizerBase",
    problem: Problem,
    context: str | None,
    *,
    template: str,
    longest_prompt: int,
) -> Shown:
    """The prompt that shows `context`, which loses tokens at its end until the prompt has
    `longest_prompt` tokens at the most, or nothing of it is left."""
    if context is None:
        return Shown(encode(tokenizer, problem.prompt))
    plain: Any = tokenizer
    tokens: list[int] = plain(context, add_special_tokens=False)["input_ids"]
    text, left = context, len(tokens)
    while True:
        prompt = encode(tokenizer, with_solution(problem.prompt, text, template))
        excess = len(prompt) - longest_prompt
        if excess <= 0 or left == 0:
            return Shown(prompt, text, truncated=text != context)
        left = max(0, left - excess)
        # A character may lie across the cut.
        text = str(tokenizer.decode(tokens[:left])).rstrip("\ufffd")
