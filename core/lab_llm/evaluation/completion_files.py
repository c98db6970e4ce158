"""The completions that an evaluation left in a run directory, as samples of a report."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from labrun.runs.run_dir import RunDir
from labrun.sample import Sample, Samples

from lab_llm.text.epistemic_words import EPISTEMIC_WORDS, word_spans


def samples_of(run: RunDir, section: str) -> Samples:
    """The completions of the evaluator `accuracy`, the published epistemic words marked."""
    del section
    return samples_in(run.artifacts / "completions", words=EPISTEMIC_WORDS)


def samples_in(folder: Path, *, words: Sequence[str]) -> Samples:
    """The completions in the `<set>.jsonl` of a folder, whole words of `words` marked.

    A line that is cut off or no completion is passed over.
    """
    meaning = f"epistemic words: {', '.join(words)}"
    return Samples(_read(folder, words), meaning)


def _read(folder: Path, words: Sequence[str]) -> Iterator[Sample]:
    for path in sorted(folder.glob("*.jsonl")):
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                said = _object(line)
                if isinstance(said.get("completion"), str):
                    yield _sample(path.stem, said, words)


def _object(line: str) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _sample(task: str, said: Mapping[str, Any], words: Sequence[str]) -> Sample:
    reward, number = said.get("correct"), said.get("sample")
    answer = said.get("gold")
    return Sample(
        task=task,
        problem=str(said.get("id", "")),
        prompt=_prompt(said.get("prompt")),
        answer="" if answer is None else str(answer),
        completion=said["completion"],
        correct=None if reward is None else reward == 1.0,
        number=number if isinstance(number, int) else 0,
        facts=_facts(said),
        marked=word_spans(said["completion"], words),
    )


def _prompt(messages: object) -> str:
    """The text of a chat; each message under its role where there are several."""
    if not isinstance(messages, list):
        return "" if messages is None else str(messages)
    texts = [(str(m.get("role")), str(m.get("content"))) for m in messages if isinstance(m, dict)]
    if len(texts) == 1:
        return texts[0][1]
    return "\n\n".join(f"{role}: {text}" for role, text in texts)


def _facts(said: Mapping[str, Any]) -> list[str]:
    facts, reward = [], said.get("correct")
    if isinstance(reward, int | float) and reward not in (0, 1):
        facts.append(f"reward {reward:.2f}")
    if isinstance(said.get("tokens"), int):
        facts.append(f"{said['tokens']:,} tokens")
    if said.get("timed_out"):
        facts.append("the grader ran out of time")
    return facts
