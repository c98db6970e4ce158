"""How rows become problems: which column is what, and what is no prompt and no answer."""

import dataclasses
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

from labrun.errors import LabError

from lab_llm.datasets import rows
from lab_llm.datasets.chats import last_said, messages_asked
from lab_llm.datasets.config import RowsConfig, RowSet
from lab_llm.datasets.gold_text import is_blank, number_text
from lab_llm.datasets.text_lines import stem
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

        A problem's id is the file's label and the row's number, `train/1` for the first.
        """
        given = (self.prompt_column, self.answer_column, self.solution_column)
        columns = [column for column in given if column is not None]
        files = rows.find_files(self.path)
        for file, label in zip(files, labels(files), strict=True):
            for row in rows.read_rows(file, columns):
                yield self._problem(row, label)

    def question(self, problem: Problem) -> str:
        """What the problem asks, in one form whatever the set's instruction and spaces are."""
        *earlier, last = [m["content"] for m in problem.prompt if m["role"] != "system"]
        asked = last.removesuffix(f"\n{self.instruction}") if self.instruction else last
        words = " ".join("\n".join([*earlier, asked]).split())
        return unicodedata.normalize("NFC", words)

    def _problem(self, row: rows.Row, label: str) -> Problem:
        where = f"{row.where}, column {self.prompt_column!r}"
        value = row.at(self.prompt_column)
        solution = self.solution_column
        *earlier, last = chat(
            value,
            system_prompt=self.system_prompt,
            where=where,
            answered=self.prompt_column in (self.answer_column, solution),
        )
        return Problem(
            id=f"{label}/{row.number}",
            prompt=(*earlier, {**last, "content": self._asked(last["content"], where)}),
            answer=_text(row, self.answer_column),
            solution=None if solution is None else _text(row, solution),
        )

    def _asked(self, content: str, where: str) -> str:
        question = content.removeprefix(self.drop_prefix).removesuffix(self.drop_suffix)
        if is_blank(question):
            raise LabError(f"{where}: the question is blank in {content!r:.80}; drop the row")
        return f"{question}\n{self.instruction}" if self.instruction else question


def labels(files: Sequence[Path]) -> list[str]:
    """A label of each file that no other has: its stem, with as many folders before it as it takes;
    `#2` behind it where a file comes again, or differs by its ending alone."""
    places = dict.fromkeys((file.parent, stem(file)) for file in files)
    labelled = {place: place[1] for place in places}
    for depth in range(1, max((len(folder.parts) for folder, _ in places), default=0) + 1):
        counts = Counter(labelled.values())
        for (folder, name), label in labelled.items():
            if counts[label] > 1:
                labelled[folder, name] = "/".join([*folder.parts[-depth:], name])
    times: Counter[str] = Counter()
    found = []
    for label in (labelled[file.parent, stem(file)] for file in files):
        times[label] += 1
        found.append(f"{label}#{times[label]}" if times[label] > 1 else label)
    return found


def chat(
    value: object, *, system_prompt: str | None, where: str, answered: bool = False
) -> tuple[Message, ...]:
    """The chat that a prompt value stands for (`lab_llm.datasets.chats`), the user's message last.

    `system_prompt` takes the place of the chat's own system message; `answered` leaves out what
    the assistant says at the end.
    Raises LabError, naming `where`, for anything else, or where the user doesn't come last.
    """
    messages = messages_asked(value, where=where)
    if answered and messages[-1]["role"] == "assistant":
        messages = messages[:-1]
    if system_prompt is not None:
        others = [message for message in messages if message["role"] != "system"]
        messages = [{"role": "system", "content": system_prompt}, *others]
    if not messages or messages[-1]["role"] != "user":
        raise LabError(
            f"{where}: the last message must come from the user: {_shown(value)}; where the "
            "assistant's last message is the answer, name this column in answer_column too"
        )
    return tuple(messages)


def _text(row: rows.Row, column: str) -> str:
    """The text or the number in a column, a number as mathematics; of a chat, what the assistant
    says last."""
    value = row.at(column)
    said = last_said(value, where=f"{row.where}, column {column!r}")
    value = value if said is None else said
    if isinstance(value, str) and not is_blank(value):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return number_text(value)
    if isinstance(value, Decimal) and value.is_finite():
        return number_text(value)
    raise LabError(f"{row.where}: column {column!r} holds no text or number but {_shown(value)}")


def _shown(value: object) -> str:
    return f"{value}" if isinstance(value, Decimal) else f"{value!r:.80}"
