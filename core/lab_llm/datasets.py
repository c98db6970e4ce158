"""Data sets for real models: rows of files, and reasoning-gym tasks."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labrun.errors import LabError

from lab_llm import reasoning_gym_tasks as tasks
from lab_llm import rows
from lab_llm.datasets_config import ReasoningGymConfig, RowsConfig, RowSet
from lab_llm.hub_files import NotCachedError
from lab_llm.problems import Message, Problem, ProblemSets
from lab_llm.verifiers import verify_math, verify_reasoning_gym

if TYPE_CHECKING:
    from labrun.context import RunContext


class RowsDataset:
    """Problems from JSONL and Parquet files, verified by math-verify."""

    def __init__(self, config: RowsConfig):
        self.config = config

    def preflight(self) -> dict[str, object]:
        """Files and number of problems of each set; reads every row that the run will use.

        `missing` lists the hub data sets that are not in the cache.
        """
        facts: dict[str, object] = {}
        missing: list[str] = []
        for name, source in self._sources.items():
            try:
                files = rows.find_files(source.path)
            except NotCachedError as error:
                facts[name] = f"not here: {source.path}"
                missing.append(str(error))
                continue
            facts[name] = f"{len(self._problems(name))} problems from {', '.join(map(str, files))}"
        return facts | ({"missing": missing} if missing else {})

    def load(self, ctx: "RunContext | None" = None) -> ProblemSets:
        return self._sets

    def fingerprint(self) -> str:
        return fingerprint(self._sets)

    @cached_property
    def _sets(self) -> ProblemSets:
        return ProblemSets(
            train=self._problems("train"),
            evaluation=self._seen | {n: self._problems(n) for n in self.config.evaluation},
            verify=verify_math,
        )

    @property
    def _seen(self) -> dict[str, list[Problem]]:
        """The training problems as a set to be scored, where that is asked."""
        if not self.config.score_seen:
            return {}
        return {"seen": list(_first_of_each(self._problems("train")))}

    @cached_property
    def _sources(self) -> dict[str, "Source"]:
        """Where the rows of each set lie and how they are read; `train` comes first."""
        if "train" in self.config.evaluation:
            raise LabError("dataset.evaluation: 'train' names the training rows; rename the set")
        if self.config.score_seen and "seen" in self.config.evaluation:
            raise LabError("dataset.score_seen makes a set `seen`; rename dataset.evaluation.seen")
        config = self.config
        given = {name: _row_set(value) for name, value in config.evaluation.items()}
        train = Source.of(RowSet(path=config.path), config, solution_column=config.solution_column)
        return {"train": train} | {name: Source.of(own, config) for name, own in given.items()}

    def _problems(self, name: str) -> list[Problem]:
        """The problems of a set, read once."""
        if name not in self._read:
            source, config = self._sources[name], self.config
            found = source.problems()
            if name == "train":
                found = _first_of_each(found) if config.unique else found
                found = islice(found, config.limit)
            self._read[name] = list(found)
        return self._read[name]

    @cached_property
    def _read(self) -> dict[str, list[Problem]]:
        return {}


def _row_set(value: str | RowSet) -> RowSet:
    return RowSet(path=value) if isinstance(value, str) else value


def _first_of_each(problems: Iterable[Problem]) -> Iterator[Problem]:
    """Those whose question was not there before; digests, so that few bytes are kept of each."""
    seen: set[bytes] = set()
    for problem in problems:
        digest = hashlib.blake2b(problem.prompt[-1]["content"].encode(), digest_size=16).digest()
        if digest not in seen:
            seen.add(digest)
            yield problem


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
        """One problem a row, as the files give them: no more than a batch of rows in memory."""
        given = (self.prompt_column, self.answer_column, self.solution_column)
        columns = [column for column in given if column is not None]
        for file in rows.find_files(self.path):
            for number, row in enumerate(rows.read_rows(file, columns)):
                yield self._problem(row, file, number=number)

    def _problem(self, row: rows.Row, file: Path, *, number: int) -> Problem:
        where = f"{file} row {number}"

        def text(column: str) -> str:
            return _text(rows.value_at(row, column, file=file), column, where)

        messages = chat(
            rows.value_at(row, self.prompt_column, file=file),
            system_prompt=self.system_prompt,
            where=f"{where}, column {self.prompt_column!r}",
        )
        return Problem(
            id=f"{file.stem}/{number}",
            prompt=(*messages[:-1], {**messages[-1], "content": self._asked(messages[-1])}),
            answer=text(self.answer_column),
            solution=None if self.solution_column is None else text(self.solution_column),
        )

    def _asked(self, message: Message) -> str:
        content = message["content"].removeprefix(self.drop_prefix).removesuffix(self.drop_suffix)
        return f"{content}\n{self.instruction}" if self.instruction else content


def chat(value: object, *, system_prompt: str | None, where: str) -> tuple[Message, ...]:
    """The chat that a prompt value stands for: text, a chat list, or a JSON string of one.

    `system_prompt` takes the place of the chat's own system message.
    Raises LabError, naming `where`, for anything else, or where the user doesn't come last.
    """
    messages = _messages(value)
    if messages is None:
        raise LabError(
            f"{where}: a prompt is text or a list of role and content, not {value!r:.80}"
        )
    if system_prompt is not None:
        others = [message for message in messages if message["role"] != "system"]
        messages = [{"role": "system", "content": system_prompt}, *others]
    if messages[-1]["role"] != "user":
        raise LabError(f"{where}: the last message must come from the user: {value!r:.80}")
    return tuple(messages)


def _messages(value: object) -> list[Message] | None:
    if isinstance(value, str):
        listed = _messages(_json_list(value))
        return listed or ([{"role": "user", "content": value}] if value.strip() else None)
    if not isinstance(value, list) or not value or not all(map(_is_message, value)):
        return None
    return [{"role": message["role"], "content": message["content"]} for message in value]


def _json_list(text: str) -> object:
    """Problems may begin with a bracket of their own ([asy], an interval): no JSON, no list."""
    if not text.lstrip().startswith("["):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None


def _is_message(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(value.get(key), str) for key in ("role", "content")
    )


def _text(value: object, column: str, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
        raise LabError(f"{where}: column {column!r} holds no text or number but {value!r:.80}")
    return str(value)


class ReasoningGymDataset:
    """Problems of one reasoning-gym task, made on the spot; `in_domain` and OOD evaluation sets."""

    def __init__(self, config: ReasoningGymConfig):
        self.config = config

    def preflight(self) -> dict[str, object]:
        """Tasks and settings of each set, checked by reasoning-gym itself."""
        for task, params in self._evaluation.values():
            tasks.check_task(task, params)
        sizes = {"train_size": self.config.train_size, "eval_size": self.config.eval_size}
        return {**sizes, **{name: task for name, (task, _) in self._evaluation.items()}}

    def load(self, ctx: "RunContext | None" = None) -> ProblemSets:
        return self._sets

    def fingerprint(self) -> str:
        return fingerprint(self._sets)

    @cached_property
    def _evaluation(self) -> dict[str, tuple[str, Mapping[str, Any]]]:
        """Each evaluation set's task and settings."""
        config = self.config
        if "in_domain" in config.ood:
            raise LabError("dataset.ood: 'in_domain' names the task's own set; rename the OOD set")
        sets: dict[str, tuple[str, Mapping[str, Any]]] = {
            "in_domain": (config.task, config.task_params)
        }
        for name, params in config.ood.items():
            own = {key: value for key, value in params.items() if key != "task"}
            if "task" in params:
                task = params["task"]
                if not isinstance(task, str):
                    raise LabError(f"dataset.ood.{name}.task={task!r}; allowed: a task's name")
                sets[name] = (task, own)
            else:
                sets[name] = (config.task, {**config.task_params, **own})
        return sets

    @cached_property
    def _sets(self) -> ProblemSets:
        """Evaluation comes first, so that it stays the same for every `train_size`."""
        self.preflight()
        config = self.config
        evaluation = {
            name: tasks.draw(
                task,
                params,
                name=name,
                size=config.eval_size,
                seed=config.seed,
                instruction=config.instruction,
                bare_answer=config.bare_answer,
            )
            for name, (task, params) in self._evaluation.items()
        }
        train = tasks.draw(
            config.task,
            config.task_params,
            name="train",
            size=config.train_size,
            seed=config.seed,
            instruction=config.instruction,
            bare_answer=config.bare_answer,
            exclude=set().union(*map(tasks.questions, evaluation.values())),
        )
        return ProblemSets(train=train, evaluation=evaluation, verify=verify_reasoning_gym)


def fingerprint(sets: ProblemSets) -> str:
    """SHA-256 of every problem of every set, in order."""
    listed = {"train": sets.train, **sets.evaluation}
    content = {name: [dataclasses.asdict(p) for p in found] for name, found in listed.items()}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
