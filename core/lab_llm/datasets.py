"""Data sets for real models: rows of files, and reasoning-gym tasks."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labrun.errors import LabError

from lab_llm import reasoning_gym_tasks as tasks
from lab_llm import rows
from lab_llm.datasets_config import ReasoningGymConfig, RowsConfig
from lab_llm.problems import Message, Problem, ProblemSets
from lab_llm.verifiers import verify_math, verify_reasoning_gym

if TYPE_CHECKING:
    from labrun.context import RunContext


class RowsDataset:
    """Problems from JSONL and Parquet files, verified by math-verify."""

    def __init__(self, config: RowsConfig):
        self.config = config
        given = (config.prompt_column, config.answer_column, config.solution_column)
        self.columns = [column for column in given if column is not None]

    def preflight(self) -> dict[str, object]:
        """Files and number of problems of each set; reads every row that the run will use."""
        files = {name: rows.find_files(paths) for name, paths in self._paths().items()}
        sets = {"train": self._sets.train, **self._sets.evaluation}
        return {
            name: f"{len(sets[name])} problems from {', '.join(map(str, found))}"
            for name, found in files.items()
        }

    def load(self, ctx: "RunContext | None" = None) -> ProblemSets:
        return self._sets

    def fingerprint(self) -> str:
        return fingerprint(self._sets)

    @cached_property
    def _sets(self) -> ProblemSets:
        config = self.config
        return ProblemSets(
            train=self._read(config.path, limit=config.limit),
            evaluation={name: self._read(path) for name, path in config.evaluation.items()},
            verify=verify_math,
        )

    def _paths(self) -> dict[str, str | tuple[str, ...]]:
        if "train" in self.config.evaluation:
            raise LabError("dataset.evaluation: 'train' names the training rows; rename the set")
        return {"train": self.config.path, **self.config.evaluation}

    def _read(self, paths: str | Sequence[str], *, limit: int | None = None) -> list[Problem]:
        found: list[Problem] = []
        for file in rows.find_files(paths):
            left = None if limit is None else limit - len(found)
            if left == 0:
                break
            for number, row in enumerate(rows.read_rows(file, self.columns, limit=left)):
                found.append(self._problem(row, file, number=number))
        return found

    def _problem(self, row: rows.Row, file: Path, *, number: int) -> Problem:
        where = f"{file} row {number}"
        config = self.config
        solution = None
        if config.solution_column is not None:
            solution = _text(
                rows.value_at(row, config.solution_column, file=file), config.solution_column, where
            )
        return Problem(
            id=f"{file.stem}/{number}",
            prompt=chat(
                rows.value_at(row, config.prompt_column, file=file),
                system_prompt=config.system_prompt,
                where=f"{where}, column {config.prompt_column!r}",
            ),
            answer=_text(
                rows.value_at(row, config.answer_column, file=file), config.answer_column, where
            ),
            solution=solution,
        )


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
            exclude=set().union(*map(tasks.questions, evaluation.values())),
        )
        return ProblemSets(train=train, evaluation=evaluation, verify=verify_reasoning_gym)


def fingerprint(sets: ProblemSets) -> str:
    """SHA-256 of every problem of every set, in order."""
    listed = {"train": sets.train, **sets.evaluation}
    content = {name: [dataclasses.asdict(p) for p in found] for name, found in listed.items()}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
