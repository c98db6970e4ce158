"""How rows become problems: which column is what, and what is no prompt and no answer."""

import dataclasses
import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from labrun.errors import LabError

from lab_llm.datasets import rows
from lab_llm.datasets.config import RowsConfig, RowSet
from lab_llm.datasets.gold_text import is_blank, number_text
from lab_llm.datasets.json_text import UnfitJSONError, check_characters, too_deep
from lab_llm.problems import Message, Problem


@dataclasses.dataclass(frozen=True)
class Source:
    """The files of one set, and how its rows become problems."""

    path: str | Sequence[str]
    prompt_column: str
    answer_column: str
    solution_column: str | None
    system_prompt: str | None
    drop_prefix: str
    drop_suffix: str
    instruction: str

    @classmethod
    def of(cls, own: RowSet, config: RowsConfig, *, solution_column: str | None = None) -> "Source":
        """What the set says, and for all else what the data set does."""
        shared = ("prompt_column", "answer_column", "drop_prefix", "drop_suffix", "instruction")
        given = {name: getattr(own, name) for name in shared}
        values = {n: getattr(config, n) if v is None else v for n, v in given.items()}
        return cls(
            path=own.path,
            solution_column=solution_column,
            system_prompt=config.system_prompt,
            **values,
        )

    def problems(self) -> Iterator[Problem]:
        """One problem a row, as the files give them: no more than a batch of rows in memory.

        A problem's id is the file's stem and the row's number, `train/1` for the first.
        """
        given = (self.prompt_column, self.answer_column, self.solution_column)
        columns = [column for column in given if column is not None]
        for file in rows.find_files(self.path):
            yield from map(self._problem, rows.read_rows(file, columns))

    def question(self, problem: Problem) -> str:
        """What the problem asks, in one form whatever the set's instruction and spaces are."""
        *earlier, last = [m["content"] for m in problem.prompt if m["role"] != "system"]
        asked = last.removesuffix(f"\n{self.instruction}") if self.instruction else last
        words = " ".join("\n".join([*earlier, asked]).split())
        return unicodedata.normalize("NFC", words)

    def _problem(self, row: rows.Row) -> Problem:
        where = f"{row.where}, column {self.prompt_column!r}"
        value = row.at(self.prompt_column)
        *earlier, last = chat(value, system_prompt=self.system_prompt, where=where)
        solution = self.solution_column
        return Problem(
            id=f"{row.file.stem}/{row.number}",
            prompt=(*earlier, {**last, "content": self._asked(last["content"], where)}),
            answer=_text(row, self.answer_column),
            solution=None if solution is None else _text(row, solution),
        )

    def _asked(self, content: str, where: str) -> str:
        question = content.removeprefix(self.drop_prefix).removesuffix(self.drop_suffix)
        if is_blank(question):
            raise LabError(f"{where}: the question is blank in {content!r:.80}; drop the row")
        return f"{question}\n{self.instruction}" if self.instruction else question


def chat(value: object, *, system_prompt: str | None, where: str) -> tuple[Message, ...]:
    """The chat that a prompt value stands for: text, a chat list, or a JSON string of one.

    `system_prompt` takes the place of the chat's own system message.
    Raises LabError, naming `where`, for anything else, or where the user doesn't come last.
    """
    messages = _messages(value)
    if messages is None:
        raise LabError(
            f"{where}: a prompt is text or a list of role and content, not {_shown(value)}"
        )
    try:
        check_characters(messages)
    except UnfitJSONError as error:
        raise LabError(f"{where} {error}") from error
    if system_prompt is not None:
        others = [message for message in messages if message["role"] != "system"]
        messages = [{"role": "system", "content": system_prompt}, *others]
    if messages[-1]["role"] != "user":
        raise LabError(f"{where}: the last message must come from the user: {_shown(value)}")
    return tuple(messages)


def _messages(value: object) -> list[Message] | None:
    if isinstance(value, str):
        listed = _messages(_json_list(value))
        return listed or (None if is_blank(value) else [{"role": "user", "content": value}])
    if not isinstance(value, list) or not value or not all(map(_is_message, value)):
        return None
    return [{"role": message["role"], "content": message["content"]} for message in value]


def _json_list(text: str) -> object:
    """Problems may begin with a bracket of their own ([asy], an interval): no JSON, no list."""
    if not text.lstrip().startswith("[") or too_deep(text):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None


def _is_message(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(value.get(key), str) for key in ("role", "content")
    )


def _text(row: rows.Row, column: str) -> str:
    """The text or the number in a column, a number as mathematics."""
    value = row.at(column)
    if isinstance(value, str) and not is_blank(value):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return number_text(value)
    if isinstance(value, Decimal) and value.is_finite():
        return number_text(value)
    raise LabError(f"{row.where}: column {column!r} holds no text or number but {_shown(value)}")


def _shown(value: object) -> str:
    return f"{value}" if isinstance(value, Decimal) else f"{value!r:.80}"
