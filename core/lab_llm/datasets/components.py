"""Data sets for real models: rows of files, and reasoning-gym tasks."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from labrun.errors import LabError
from labrun.plan import Plan, Setup

from lab_llm.datasets import reasoning_gym as tasks
from lab_llm.datasets import rows
from lab_llm.datasets.config import ReasoningGymConfig, RowsConfig, RowSet
from lab_llm.datasets.hub_files import DataNotHereError
from lab_llm.datasets.repeats import describe_repeats
from lab_llm.datasets.row_problems import Source, chat
from lab_llm.datasets.set_names import check_set_names
from lab_llm.grading.own_rule import OwnRule
from lab_llm.grading.verifiers import PooledVerifier, rule_of, verify_reasoning_gym
from lab_llm.problems import Problem, ProblemSets

if TYPE_CHECKING:
    from labrun.runs.context import RunContext

__all__ = ["ReasoningGymDataset", "RowsDataset", "chat", "fingerprint"]

TAKEN = ("train", "reward", "missing", "repeats", "train_size", "eval_size")
"""Keys of the plan that no set may have as its name."""


class RowsDataset:
    """Problems from JSON, CSV and Parquet files, verified by the rule that `reward` names."""

    def __init__(self, config: RowsConfig):
        self.config = config

    def plan(self, setup: Setup) -> Plan:
        """Files and number of problems of each set; reads every row that the run will use.

        Missing are hub data sets that are not in the cache, and files whose folder is not there; a
        wrong name in a folder that is there is an error. The fact `repeats` says which training
        questions come again, there or in an evaluation set.
        """
        del setup
        facts: dict[str, object] = {"reward": self._said_rules}
        missing: list[str] = []
        for name, source in self._sources.items():
            try:
                files = rows.find_files(source.path)
            except DataNotHereError as error:
                facts[name] = f"not here: {source.path}"
                missing.append(str(error))
                continue
            facts[name] = f"{len(self._problems(name))} problems from {', '.join(map(str, files))}"
        if len(self._sources) == 1 and not self.config.score_seen:
            facts["evaluation"] = "none; nothing is scored"
        if missing:
            return Plan(facts, missing)
        for rule in self._own_rules:
            rule.check(self._problems("train")[0])
        if repeats := "; ".join(self._repeats()):
            facts["repeats"] = repeats
        return Plan(facts, offers=self.sets)

    def load(self, ctx: "RunContext") -> ProblemSets:
        """The problems of every set. The run is warned of training questions that come again; it
        notes the code of a reward of the user's own."""
        self._record_rules(ctx)
        for sentence in self._repeats():
            ctx.warn(sentence)
        return self.sets

    def fingerprint(self) -> str:
        return fingerprint(self.sets)

    @cached_property
    def sets(self) -> ProblemSets:
        """The problems of every set."""
        return ProblemSets(
            train=self._problems("train"),
            evaluation=self._seen | {n: self._problems(n) for n in self.config.evaluation},
            verify=self._rules["evaluation_reward"],
            reward=self._rules["reward"],
        )

    @property
    def _named(self) -> dict[str, str]:
        """The rule of the training reward, and that of the scores, by their keys."""
        reward, scored = self.config.reward, self.config.evaluation_reward
        return {"reward": reward, "evaluation_reward": reward if scored == "same" else scored}

    @cached_property
    def _rules(self) -> dict[str, PooledVerifier | OwnRule]:
        return {key: rule_of(name, key=f"dataset.{key}") for key, name in self._named.items()}

    @property
    def _own_rules(self) -> list[OwnRule]:
        """The rules that are functions of the user's own, each once."""
        return list(dict.fromkeys(r for r in self._rules.values() if isinstance(r, OwnRule)))

    @property
    def _said_rules(self) -> str:
        """The rule of the training reward, and that of the scores where it is another."""
        reward, scored = map(_said, self._rules.values(), self._named.values())
        return reward if reward == scored else f"{reward}; scores by {scored}"

    def _record_rules(self, ctx: "RunContext") -> None:
        """Notes the code of each own rule, once, and warns where it changed since."""
        for rule in self._own_rules:
            begin = f"rewards by {rule.rule}: "
            notes = [str(event.get("message", "")) for event in ctx.run.events()]
            before = [note for note in notes if note.startswith(begin)]
            if not before:
                ctx.note(f"{begin}{rule.source()}")
            elif before[-1] != f"{begin}{rule.source()}":
                ctx.warn(f"{begin}{rule.source()}; it changed while the run was stopped")

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
        seen = ["seen"] if config.score_seen else []
        check_set_names([*seen, *config.evaluation], key="dataset.evaluation", taken=TAKEN)
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

    def _repeats(self) -> list[str]:
        """A sentence for each way in which training questions come again."""
        asked = {
            name: [(problem.id, source.question(problem)) for problem in self._problems(name)]
            for name, source in self._sources.items()
        }
        return describe_repeats(asked.pop("train"), asked)

    @cached_property
    def _read(self) -> dict[str, list[Problem]]:
        return {}


def _said(rule: PooledVerifier | OwnRule, name: str) -> str:
    return f"{name} ({rule.source()})" if isinstance(rule, OwnRule) else name


def _row_set(value: str | RowSet) -> RowSet:
    return RowSet(path=value) if isinstance(value, str) else value


def _first_of_each(problems: Iterable[Problem]) -> Iterator[Problem]:
    """The problems with a new question; digests are kept in place of the questions."""
    seen: set[bytes] = set()
    for problem in problems:
        digest = hashlib.blake2b(problem.prompt[-1]["content"].encode(), digest_size=16).digest()
        if digest not in seen:
            seen.add(digest)
            yield problem


class ReasoningGymDataset:
    """Problems of one reasoning-gym task, made on the spot; `in_domain` and OOD evaluation sets."""

    def __init__(self, config: ReasoningGymConfig):
        self.config = config

    def plan(self, setup: Setup) -> Plan:
        """Tasks and settings of each set, checked by reasoning-gym itself."""
        del setup
        self._check_tasks()
        sizes = {"train_size": self.config.train_size, "eval_size": self.config.eval_size}
        facts = {**sizes, **{name: task for name, (task, _) in self._evaluation.items()}}
        return Plan(facts, offers=self.sets)

    def load(self, ctx: "RunContext") -> ProblemSets:
        del ctx
        return self.sets

    def _check_tasks(self) -> None:
        for task, params in self._evaluation.values():
            tasks.check_task(task, params)

    def fingerprint(self) -> str:
        return fingerprint(self.sets)

    @cached_property
    def _evaluation(self) -> dict[str, tuple[str, Mapping[str, Any]]]:
        """Each evaluation set's task and settings."""
        config = self.config
        if "in_domain" in config.ood:
            raise LabError("dataset.ood: 'in_domain' names the task's own set; rename the OOD set")
        check_set_names(["in_domain", *config.ood], key="dataset.ood", taken=TAKEN)
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
    def sets(self) -> ProblemSets:
        """The problems of every set; evaluation comes first, so that it is the same for every
        `train_size`."""
        self._check_tasks()
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
