"""Completions that lie in files, one a line of JSONL."""

import glob
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab_llm.evaluator import Graded
from lab_llm.problems import Problem
from labrun import LabError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

KEY = "verbalization.completions"


def files(named: str | Sequence[str]) -> dict[Path, list[Mapping[str, Any]]]:
    """The lines of every file that is named; none where nothing is.

    Raises LabError, by file and line, for a file that is not there, is empty, or holds a line
    without a completion, and for two files of one name.
    """
    words = [named] if isinstance(named, str) else list(named)
    paths = [path for word in words if word for path in _paths(word)]
    stems = [path.stem for path in paths]
    for path in paths:
        if stems.count(path.stem) > 1:
            raise LabError(f"{KEY}: more than one file is called {path.name}; name one at a time")
    return {path: _lines(path) for path in paths}


def graded(
    named: str | Sequence[str], tokenizer: "PreTrainedTokenizerBase"
) -> dict[str, list[Graded]]:
    """File name -> its completions by problem; lines without `id` are a problem each.

    Where a line has no `tokens` its length is by `tokenizer`; where it has no `correct`, or none
    that is a number, the problem has no rewards.
    """
    return {path.stem: _by_problem(lines, tokenizer) for path, lines in files(named).items()}


def _paths(word: str) -> list[Path]:
    path = Path(word).expanduser()
    if path.is_dir():
        found = sorted(path.rglob("completions/*.jsonl")) or sorted(path.glob("*.jsonl"))
    else:
        found = sorted(Path(name) for name in glob.glob(str(path), recursive=True))
    if not found:
        raise LabError(f"{KEY}={word}: no such file; name a .jsonl file, a glob or a run directory")
    return found


def _lines(path: Path) -> list[Mapping[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"{KEY}: {path} cannot be read as text: {error}") from error
    lines = [_line(path, n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise LabError(f"{KEY}: {path} is empty; it needs a completion a line")
    return lines


def _line(path: Path, number: int, text: str) -> Mapping[str, Any]:
    try:
        line = json.loads(text)
    except ValueError as error:
        raise LabError(f"{KEY}: {path} line {number} is no JSON: {error}") from error
    if not isinstance(line, dict) or not isinstance(line.get("completion"), str):
        raise LabError(
            f"{KEY}: {path} line {number} has no text under `completion`; "
            "a line is an object such as {'id': ..., 'completion': ...}"
        )
    return line


def _by_problem(
    lines: Sequence[Mapping[str, Any]], tokenizer: "PreTrainedTokenizerBase"
) -> list[Graded]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for number, line in enumerate(lines, 1):
        groups.setdefault(str(line.get("id", number)), []).append(line)
    return [_graded(name, group, tokenizer) for name, group in groups.items()]


def _graded(
    name: str, lines: Sequence[Mapping[str, Any]], tokenizer: "PreTrainedTokenizerBase"
) -> Graded:
    texts = [line["completion"] for line in lines]
    tokens = [line.get("tokens") for line in lines]
    lengths = [
        n if isinstance(n, int) else len(tokenizer(text, add_special_tokens=False)["input_ids"])  # pyright: ignore[reportArgumentType]
        for n, text in zip(tokens, texts, strict=True)
    ]
    marks = [line.get("correct") for line in lines]
    rewards = [float(mark) for mark in marks if isinstance(mark, int | float)]
    known = rewards if len(rewards) == len(lines) else []
    return Graded(Problem(id=name, prompt=(), answer=""), texts, lengths, known)
