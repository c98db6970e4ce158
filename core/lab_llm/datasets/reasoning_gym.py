"""Problems of reasoning-gym: checked settings, and streams of different questions."""

import dataclasses
import hashlib
from collections.abc import Mapping, Set
from typing import Any

from labrun.errors import LabError, unknown

from lab_llm.grading import sandbox
from lab_llm.grading.gym_rule import EVALUATES_TEXT
from lab_llm.problems import Problem

OVERSAMPLING = 20
"""Questions that are drawn at most for each one wanted, before a task counts as exhausted."""
RESERVED = ("seed", "size")


def check_task(task: str, params: Mapping[str, Any]) -> None:
    """Raises LabError for a task or a setting that reasoning-gym doesn't have, or refuses, and for
    a task whose scorer cannot be trusted here."""
    from reasoning_gym.factory import DATASETS

    if task not in DATASETS:
        raise unknown("reasoning-gym task", task, DATASETS)
    _check_scorer(task)
    config_class: Any = DATASETS[task][1]
    names = {field.name for field in dataclasses.fields(config_class)} - set(RESERVED)
    for name in params:
        if name in RESERVED:
            raise LabError(f"{task}: {name!r} is set by dataset.seed, train_size and eval_size")
        if name not in names:
            raise unknown(f"setting of the reasoning-gym task {task}", name, names)
    try:
        config = config_class(**params)
        if hasattr(config, "validate"):
            config.validate()
    except (AssertionError, TypeError, ValueError) as error:
        raise LabError(f"reasoning-gym task {task} with {dict(params)}: {error}") from error


def _check_scorer(task: str) -> None:
    """LabError where the task's scorer runs what a model wrote and this machine has no sandbox."""
    if task == "composite":
        raise LabError(
            "reasoning-gym task composite: it hides which tasks' scorers run; name one task, and "
            "the others as sets of dataset.ood"
        )
    if task in EVALUATES_TEXT and not sandbox.is_available():
        raise LabError(
            f"reasoning-gym task {task}: its scorer evaluates answers, and this machine has no "
            "sandbox for it (Linux with seccomp on x86-64 or 64-bit ARM); take another task"
        )


def draw(
    task: str,
    params: Mapping[str, Any],
    *,
    name: str,
    size: int,
    seed: int,
    instruction: str,
    bare_answer: str = "line",
    exclude: Set[str] = frozenset(),
) -> list[Problem]:
    """`size` problems with different questions, none of them in `exclude`.

    They are the first of a stream that `seed` and the set's `name` choose.
    Raises LabError where the task has too few.
    """
    from reasoning_gym import create_dataset

    stream = create_dataset(task, seed=_stream_seed(seed, name), size=size * OVERSAMPLING, **params)
    taken = set(exclude)
    found: list[Problem] = []
    for index in range(size * OVERSAMPLING):
        entry = stream[index]
        if entry["question"] not in taken:
            taken.add(entry["question"])
            found.append(
                _problem(f"{name}/{len(found)}", task, params, entry, instruction, bare_answer)
            )
        if len(found) == size:
            return found
    raise LabError(
        f"reasoning-gym task {task} with {dict(params)} gave {len(found)} different questions "
        f"for {name!r}, not {size}; ask for fewer or widen the settings"
    )


def questions(problems: list[Problem]) -> set[str]:
    """The question texts, without the instruction."""
    entries: list[Any] = [problem.payload["entry"] for problem in problems]
    return {entry["question"] for entry in entries}


def _stream_seed(seed: int, name: str) -> int:
    # reasoning-gym seeds item i with seed + i: neighbouring seeds would share their problems.
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:4]) // 2


def _problem(
    id_: str,
    task: str,
    params: Mapping[str, Any],
    entry: dict[str, Any],
    instruction: str,
    bare_answer: str,
) -> Problem:
    question = entry["question"]
    content = f"{question}\n\n{instruction}" if instruction else question
    return Problem(
        id=id_,
        prompt=({"role": "user", "content": content},),
        answer="" if entry["answer"] is None else str(entry["answer"]),
        payload={
            "task": task,
            "task_params": dict(params),
            "entry": entry,
            **({} if bare_answer == "line" else {"bare_answer": bare_answer}),
        },
    )
