"""Completions that lie in files, one a line of JSONL."""

import glob
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab_llm.evaluation.accuracy import Graded
from lab_llm.problems import Problem
from labrun import LabError
from labrun.errors import listed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SECTION = "evaluator.verbalization"
KEY = f"{SECTION}.completions"
FOLDERS = (
    "artifacts/completions",
    "artifacts/verbalization/completions",
    "artifacts/richness",
    ".",
)
"""Where a directory's files are looked for: the first that holds some. A run with both evaluators
has two files of each set."""

Line = Mapping[str, Any]
Lines = Sequence[Line]


def files(named: str | Sequence[str]) -> dict[Path, list[Line]]:
    """The lines of every file that is named.

    Raises LabError, by file and line, for a file that is not there, is empty, or holds a line
    without a completion, and for two files of one name.
    """
    words = [named] if isinstance(named, str) else list(named)
    paths = list(dict.fromkeys(path for word in words for path in _paths(word)))
    stems = [path.stem for path in paths]
    for path in paths:
        if stems.count(path.stem) > 1:
            raise LabError(f"{KEY}: more than one file is called {path.name}; name one at a time")
    return {path: _lines(path) for path in paths}


def check_pass_k(found: Mapping[Path, Lines], pass_k: Sequence[int]) -> None:
    """LabError where a graded file has a problem with fewer completions than the largest k."""
    largest = max(pass_k, default=0)
    for path, lines in found.items():
        if any(line.get("correct") is None for line in lines):
            continue
        for name, group in _by_problem(lines).items():
            if len(group) < largest:
                raise LabError(
                    f"{SECTION}.pass_k={list(pass_k)} needs {largest} completions of each `id`; "
                    f"{path} has {len(group)} of {name!r}; set smaller values or pass_k=[]"
                )


def graded(
    named: str | Sequence[str], tokenizer: "PreTrainedTokenizerBase"
) -> tuple[dict[str, list[Graded]], list[str]]:
    """File name -> its completions by problem, and notes of what its lines do not say.

    A line without `id` is a problem of its own. Where it has no `tokens` its length is by
    `tokenizer`, without an end token; where one of a problem's lines has no `correct` the problem
    has no rewards.
    """
    found = files(named)
    notes = [note for path, lines in found.items() for note in _notes(path, lines)]
    return {
        path.stem: [_graded(name, group, tokenizer) for name, group in _by_problem(lines).items()]
        for path, lines in found.items()
    }, notes


def _notes(path: Path, lines: Lines) -> list[str]:
    effects = {
        "tokens": "their length is by this run's tokenizer",
        "correct": "its accuracy is left out",
    }
    missing = {key: sum(line.get(key) is None for line in lines) for key in effects}
    return [
        f"{path.name}: {n} of {len(lines)} completions have no `{key}`; {effects[key]}"
        for key, n in missing.items()
        if n
    ]


def _paths(word: str) -> list[Path]:
    pattern = os.path.expanduser(word)
    literal = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern, recursive=True))
    named = map(Path, literal)
    found = [file for one in named for file in (_inside(one) if one.is_dir() else [one])]
    if not found:
        raise LabError(f"{KEY}={word}: no such file; name a .jsonl file, a glob or a run directory")
    return found


def _inside(directory: Path) -> list[Path]:
    folders = [sorted((directory / folder).glob("*.jsonl")) for folder in FOLDERS]
    # events.jsonl of a run that has no completions holds none
    found = [[path for path in paths if path.name != "events.jsonl"] for paths in folders]
    return next(filter(None, found), [])


def _lines(path: Path) -> list[Line]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"{KEY}: {path} cannot be read as text: {error}") from error
    # Not splitlines(): a completion may hold U+2028 or U+0085, which JSON leaves as they are.
    numbered = enumerate(text.split("\n"), 1)
    lines = [_line(f"{path} line {n}", line) for n, line in numbered if line.strip()]
    if not lines:
        raise LabError(f"{KEY}: {path} is empty; it needs a completion a line")
    return lines


def _line(where: str, text: str) -> Line:
    try:
        line = json.loads(text)
    except ValueError as error:
        raise LabError(f"{KEY}: {where} is no JSON: {error}") from error
    if not isinstance(line, dict):
        raise LabError(
            f"{KEY}: {where} is no JSON object; write a line as {{'id': ..., 'completion': ...}}"
        )
    if not isinstance(line.get("completion"), str):
        raise LabError(f"{KEY}: {where} has no text under `completion`; its keys: {listed(line)}")
    _check_numbers(where, line)
    # Half of a surrogate pair, as a cut-off emoji leaves it, can be neither tokenized nor written.
    return line | {"completion": line["completion"].encode("utf-8", "replace").decode()}


def _check_numbers(where: str, line: Line) -> None:
    """LabError where `tokens` is no count or `correct` no reward; either may be missing or null."""
    tokens, correct = line.get("tokens"), line.get("correct")
    if tokens is not None and (not isinstance(tokens, int) or tokens < 0):
        raise LabError(f"{KEY}: {where}: tokens={tokens!r}; it must be a count, or left out")
    if correct is None:
        return
    if not isinstance(correct, int | float) or math.isnan(correct) or not 0 <= correct <= 1:
        raise LabError(f"{KEY}: {where}: correct={correct!r}; it must be 0 to 1, or left out")


def _by_problem(lines: Lines) -> dict[str, list[Line]]:
    groups: dict[str, list[Line]] = {}
    for number, line in enumerate(lines, 1):
        name = line.get("id")
        groups.setdefault(f"line {number}" if name is None else str(name), []).append(line)
    return groups


def _graded(name: str, lines: Lines, tokenizer: "PreTrainedTokenizerBase") -> Graded:
    texts = [line["completion"] for line in lines]
    tokens = [line.get("tokens") for line in lines]
    lengths = [
        _length(text, tokenizer) if n is None else n for n, text in zip(tokens, texts, strict=True)
    ]
    marks = [line.get("correct") for line in lines]
    rewards = [float(mark) for mark in marks if mark is not None]
    known = rewards if len(rewards) == len(lines) else []
    return Graded(Problem(id=name, prompt=(), answer=""), texts, lengths, known)


def _length(text: str, tokenizer: "PreTrainedTokenizerBase") -> int:
    return len(tokenizer.encode(text, add_special_tokens=False))
