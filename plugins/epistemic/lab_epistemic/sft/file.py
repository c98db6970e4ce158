"""The file of study 2's two sets: its lines, and whether they fit a run's problems and model."""

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Len
from lab_llm.grading.grades import grade_all
from lab_llm.problems import Problem, ProblemSets
from lab_llm.text.completion_text import completion_text
from lab_llm.text.prompts import encode
from labrun import LabError, schema
from pydantic import TypeAdapter, ValidationError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FILE = "sft_pairs.jsonl"
Kind = Literal["unguided", "guided"]
KINDS: tuple[Kind, ...] = ("unguided", "guided")


@schema
class Response:
    """One line of the file: a correct response, and the prompt that it is to be learned for."""

    id: str
    """The problem."""
    kind: Kind
    """unguided; guided: sampled with a solution in the prompt."""
    prompt: Annotated[tuple[dict[str, str], ...], Len(1)]
    """The chat as the student sees it, without a solution."""
    completion: str
    """The text, without its end token."""
    tokens: Annotated[int, Ge(1)]
    """Length of `token_ids` (tokens)."""
    token_ids: tuple[int, ...]
    """What was sampled, the end token included."""


def of_kind(responses: Sequence[Response], kind: Kind) -> list[Response]:
    return [response for response in responses if response.kind == kind]


def as_text(responses: Sequence[Response]) -> str:
    """The file's text, one line a response."""
    lines = [json.dumps(dataclasses.asdict(one), ensure_ascii=False) for one in responses]
    return "\n".join(lines) + "\n"


def read(path: Path) -> list[Response]:
    """The sets of a file. Raises LabError that names the file and the line where it is malformed,
    or the problem that has not as many responses of one kind as of the other."""
    responses = read_lines(path)
    counts = {kind: Counter(r.id for r in of_kind(responses, kind)) for kind in KINDS}
    for name in dict.fromkeys(r.id for r in responses):
        of = [counts[kind][name] for kind in KINDS]
        if of[0] != of[1]:
            raise LabError(
                f"{path}: {name} has {of[0]} unguided and {of[1]} guided responses, which must be "
                f"equal in number; {_advice()}"
            )
    if not responses:
        raise LabError(f"{path} holds no responses; {_advice()}")
    return responses


def read_lines(path: Path) -> list[Response]:
    """The responses of a file, whatever there is of each kind."""
    try:
        text = path.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"cannot read {path}: {error}; {_advice()}") from error
    # Not splitlines(): a response may hold U+2028 or U+0085, which JSON leaves as they are.
    lines = text.split("\n") if text else []
    return [_parse(path, number, line) for number, line in enumerate(lines, 1)]


def _parse(path: Path, number: int, line: str) -> Response:
    try:
        found = TypeAdapter(Response).validate_json(line, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the line"
        raise _malformed(path, number, f"{where}: {first['msg']}") from error
    if found.tokens != len(found.token_ids):
        what = f"tokens={found.tokens}, but token_ids holds {len(found.token_ids)}"
        raise _malformed(path, number, what)
    return found


def check(
    path: Path,
    responses: Sequence[Response],
    sets: ProblemSets,
    tokenizer: "PreTrainedTokenizerBase | None",
) -> None:
    """LabError, naming file and line, where a response is none of these problems, or not correct,
    or not the tokenizer's (None: not checked)."""
    problems: Mapping[str, Problem] = {problem.id: problem for problem in sets.train}
    for number, one in enumerate(responses, 1):
        problem = problems.get(one.id)
        if problem is None:
            raise _malformed(path, number, f"no training problem {one.id!r}")
        if [dict(message) for message in problem.prompt] != list(one.prompt):
            raise _malformed(path, number, f"the prompt is not that of {one.id}")
    asked = [problems[one.id] for one in responses]
    grades = grade_all(sets.verify, asked, [one.completion for one in responses])
    for number, (one, reward) in enumerate(zip(responses, grades.rewards, strict=True), 1):
        if reward != 1.0:
            raise _malformed(path, number, "the completion is not correct")
        if tokenizer is not None and (fault := _foreign(one, tokenizer)):
            raise _malformed(path, number, fault)


def _foreign(response: Response, tokenizer: "PreTrainedTokenizerBase") -> str | None:
    ids = list(response.token_ids)
    if max(ids) >= len(tokenizer) or min(ids) < 0:
        return f"token_ids reach {max(ids)}, the model's vocabulary {len(tokenizer) - 1}"
    prompt = encode(tokenizer, response.prompt)
    if completion_text(tokenizer, ids, prompt_ids=prompt) != response.completion:
        return "token_ids are not the completion by the model's tokenizer"
    if ids[-1] not in tokenizer.all_special_ids:
        return "token_ids do not end in an end token"
    return None


def _malformed(path: Path, number: int, what: str) -> LabError:
    return LabError(f"{path}, line {number}: {what}; {_advice()}")


def _advice() -> str:
    return (
        f"take {FILE} of a finished run of these problems and this model, or set trainer.pairs=''"
    )
