"""Countdown with search in words: make a target from a few numbers with + and -.

`nums 5 2 1 make 6` is answered by `5+1=6 6+2=8 no maybe 5+2=7 7-1=6 yes. ans 5+2-1`. A problem is
known by its identity, the sorted numbers and the target; a hash of the identity puts it into
exactly one split, whatever the seed.
"""

import hashlib
import itertools
import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Literal, cast

from labrun.errors import LabError, unknown
from labrun.plan import Plan, Setup

from lab_llm.datasets.countdown_config import CountdownConfig
from lab_llm.problems import Forms, Problem, ProblemSets

if TYPE_CHECKING:
    from labrun.runs.context import RunContext

Split = Literal["warmstart", "train", "validation", "evaluation"]
ScoredSplit = Literal["evaluation", "validation", "tuning", "test"]
Richness = Literal["answer", "solution", "search"]
Identity = tuple[tuple[int, ...], int]
"""The numbers in ascending order, and the target."""

EPISTEMIC_WORDS = ("wait", "hmm", "maybe")
RICHNESS: tuple[Richness, ...] = ("answer", "solution", "search")
ANSWER = re.compile(r"\bans ([0-9]{1,4}(?:[+-][0-9]{1,4})*)\s*\Z")
TERM = re.compile(r"[+-]?[0-9]+")


@dataclass(frozen=True)
class Family:
    """Problems of `num_numbers` numbers from 1 up, whose largest lies in [`low`, `high`].

    `shares` are the fractions of its identities in the splits warmstart, train, validation and
    evaluation; they sum to 1.
    """

    num_numbers: int
    low: int
    high: int
    shares: tuple[float, float, float, float]


SPLITS: tuple[Split, ...] = ("warmstart", "train", "validation", "evaluation")
FAMILIES: Mapping[str, Family] = {
    "in_domain": Family(3, 1, 9, (0.17, 0.36, 0.07, 0.40)),
    "ood_large": Family(3, 10, 14, (0.50, 0.15, 0.10, 0.25)),
    "ood_four": Family(4, 1, 6, (0.40, 0.10, 0.10, 0.40)),
}


@dataclass(frozen=True)
class SearchStyle:
    """How a written search goes: each attempt is right with probability `hit`; after a wrong one
    it answers all the same with probability `give_up`, and always at the last of `max_attempts`,
    which is right for certain where `solves`."""

    hit: float
    give_up: float
    max_attempts: int
    solves: bool


SEARCH = SearchStyle(hit=0.3, give_up=0.1, max_attempts=3, solves=False)
SOLVED_SEARCH = SearchStyle(hit=0.3, give_up=0.0, max_attempts=3, solves=True)
CONFIDENT = SearchStyle(hit=0.92, give_up=0.0, max_attempts=2, solves=True)


@cache
def expressions(numbers: tuple[int, ...]) -> Mapping[str, int]:
    """Every chain of all `numbers` with + and -, no partial result below 0, with its value."""
    found: dict[str, int] = {}
    for order in sorted(set(itertools.permutations(numbers))):
        chains = [(str(order[0]), order[0])]
        for number in order[1:]:
            chains = [
                (f"{text}{term:+d}", value + term)
                for text, value in chains
                for term in (number, -number)
                if value + term >= 0
            ]
        found.update(chains)
    return found


def identity_name(identity: Identity) -> str:
    """`1-2-5=6` for the numbers 1, 2, 5 and the target 6."""
    numbers, target = identity
    return f"{'-'.join(map(str, numbers))}={target}"


def split_of(family: str, identity: Identity) -> Split:
    """The one split that the identity belongs to, by its SHA-256 hash."""
    digest = hashlib.sha256(identity_name(identity).encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    for split, bound in zip(SPLITS, itertools.accumulate(FAMILIES[family].shares), strict=True):
        if position < bound:
            return split
    return SPLITS[-1]


@cache
def identities(family: str, split: Split) -> tuple[Identity, ...]:
    """All solvable problems of a split, in ascending order. Raises LabError at unknown names."""
    if family not in FAMILIES:
        raise unknown("countdown family", family, FAMILIES)
    if split not in SPLITS:
        raise unknown("countdown split", split, SPLITS)
    kind = FAMILIES[family]
    every = itertools.combinations_with_replacement(range(1, kind.high + 1), kind.num_numbers)
    return tuple(
        (numbers, target)
        for numbers in every
        if numbers[-1] >= kind.low
        for target in sorted(set(expressions(numbers).values()))
        if split_of(family, (numbers, target)) == split
    )


@cache
def pool_of(family: str, name: Split | ScoredSplit) -> tuple[Identity, ...]:
    """All problems of a split; of `tuning`, the validation split and every second problem of
    evaluation; or of `test`, the other problems of evaluation."""
    if name == "tuning":
        held = identities(family, "evaluation")[::2]
        return tuple(sorted((*identities(family, "validation"), *held)))
    if name == "test":
        return identities(family, "evaluation")[1::2]
    return identities(family, name)


def question(numbers: Sequence[int], target: int, *, ref: str | None = None) -> str:
    """The user's message: the numbers and the target, and a reference solution if given."""
    asked = f"nums {' '.join(map(str, numbers))} make {target}"
    return asked if ref is None else f"{asked}\nref: {ref}"


def worked(expression: str) -> str:
    """The expression step by step: `5+2=7 7-1=6` for `5+2-1`."""
    first, *rest = TERM.findall(expression)
    total, steps = int(first), []
    for term in rest:
        steps.append(f"{total}{term}={total + int(term)}")
        total += int(term)
    return " ".join(steps)


def clean_trace(expression: str) -> str:
    """A short worked solution with no search."""
    return f"{worked(expression)} yes. ans {expression}"


def solutions(identity: Identity) -> list[str]:
    """The expressions that make the target, in a fixed order; never empty in a split."""
    return [e for e, value in expressions(identity[0]).items() if value == identity[1]]


def search_trace(
    identity: Identity, rng: random.Random, *, style: SearchStyle, solution: str | None = None
) -> str:
    """A written search in `style`; a right attempt is `solution`, or any that is right.

    Each wrong attempt that is not answered is followed by `no` and an epistemic word.
    """
    wrong = [e for e, value in expressions(identity[0]).items() if value != identity[1]]
    rng.shuffle(wrong)
    parts: list[str] = []
    for attempt in itertools.count(1):
        last = attempt == style.max_attempts
        if rng.random() < style.hit or (last and style.solves) or not wrong:
            parts.append(clean_trace(solution or rng.choice(solutions(identity))))
            break
        tried = wrong.pop()
        parts.append(worked(tried))
        if last or rng.random() < style.give_up:
            parts.append(f"ans {tried}")
            break
        parts.append(f"no {rng.choice(EPISTEMIC_WORDS)}")
    return " ".join(parts)


def reference(identity: Identity, solution: str, richness: Richness, rng: random.Random) -> str:
    """The text after `ref:`: the bare expression, a clean trace, or a search that ends in it."""
    match richness:
        case "answer":
            return solution
        case "solution":
            return clean_trace(solution)
        case "search":
            return search_trace(identity, rng, style=SOLVED_SEARCH, solution=solution)
    raise unknown("richness", richness, RICHNESS)


def grade(numbers: Sequence[int], target: int, completion: str) -> float:
    """1.0 if the completion ends in `ans` and an expression that uses every number exactly once
    and makes the target, else 0.0. The expression is read from left to right, never evaluated as
    code; what stands before `ans` does not count."""
    found = ANSWER.search(completion)
    if found is None:
        return 0.0
    terms = [int(term) for term in TERM.findall(found[1])]
    uses_all = sorted(map(abs, terms)) == sorted(numbers)
    return float(uses_all and sum(terms) == target)


def verify(problem: Problem, completion: str) -> float:
    """The reward in {0, 1} of a completion (see `grade`)."""
    numbers = cast("Sequence[int]", problem.payload["numbers"])
    return grade(numbers, cast("int", problem.payload["target"]), completion)


def identity_of(problem: Problem) -> Identity:
    """The identity of a countdown problem."""
    numbers = cast("Sequence[int]", problem.payload["numbers"])
    return tuple(sorted(numbers)), cast("int", problem.payload["target"])


def problems(family: str, split: Split | ScoredSplit, n: int, seed: int) -> list[Problem]:
    """`n` problems, a pure function of the arguments.

    Each identity comes once before any comes twice; a repetition has the next number after `#` in
    its id and its numbers in an order of its own. Raises LabError at an unknown family or split.
    """
    rng = random.Random(f"countdown/{family}/{split}/{seed}")
    drawn: list[Problem] = []
    for turn in itertools.count(1):
        pool = list(pool_of(family, split))
        rng.shuffle(pool)
        drawn.extend(_problem(family, identity, turn, rng) for identity in pool[: n - len(drawn)])
        if len(drawn) == n:
            return drawn
    raise AssertionError("unreachable")


def _problem(family: str, identity: Identity, turn: int, rng: random.Random) -> Problem:
    numbers, target = rng.sample(identity[0], len(identity[0])), identity[1]
    return Problem(
        id=f"countdown/{family}/{identity_name(identity)}" + (f"#{turn}" if turn > 1 else ""),
        prompt=({"role": "user", "content": question(numbers, target)},),
        answer=str(target),
        solution=clean_trace(rng.choice(solutions(identity))),
        payload={"numbers": numbers, "target": target},
    )


def trace_without_search(problem: Problem, completion: str) -> str | None:
    """`s \\ think` of countdown: the answer's own steps and the answer, with no search before it.

    None where the completion gives no answer.
    """
    del problem
    found = ANSWER.search(completion)
    return None if found is None else clean_trace(found[1])


def answered_expression(problem: Problem, completion: str) -> str:
    """The expression after `ans`; where there is none, one that makes the target."""
    found = ANSWER.search(completion)
    return found[1] if found else solutions(identity_of(problem))[0]


FORMS = Forms(without_thinking=trace_without_search, answer=answered_expression)


class CountdownDataset:
    """Trains on one family (three numbers up to 9, unless another is chosen); scores all three."""

    def __init__(self, config: CountdownConfig):
        self.config = config

    def plan(self, setup: Setup) -> Plan:
        """Sizes of the sets, and the sets themselves.

        Raises LabError where an evaluation set cannot fill `eval_size`.
        """
        del setup
        split, size = self.config.eval_split, self.config.eval_size
        held = {family: len(pool_of(family, split)) for family in FAMILIES}
        held_for_training = identities(self.config.train_family, "train")
        smallest = min(held, key=held.__getitem__)
        if size is not None and size > held[smallest]:
            raise LabError(
                f"dataset.eval_size={size}: the {split} set {smallest} holds {held[smallest]} "
                "distinct problems; set eval_size to at most that, or null for all"
            )
        facts = {
            "train": self.config.train_size,
            "train_distinct": min(self.config.train_size, len(held_for_training)),
            split: held if size is None else dict.fromkeys(FAMILIES, size),
        }
        return Plan(facts, offers=self.sets)

    def load(self, ctx: "RunContext") -> ProblemSets:
        """The problems; they depend on the config alone, not on the run."""
        del ctx
        return self.sets

    @cached_property
    def sets(self) -> ProblemSets:
        """The problems of every set."""
        c = self.config
        train = problems(c.train_family, "train", c.train_size, c.seed)
        distinct = min(c.train_size, len(identities(c.train_family, "train")))
        seen = {"seen": train[:distinct][: c.eval_size]} if c.score_seen else {}
        return ProblemSets(
            train=train,
            evaluation=seen | {f: self._scored(f) for f in FAMILIES},
            verify=verify,
            forms=FORMS,
        )

    def _scored(self, family: str) -> list[Problem]:
        c = self.config
        held = len(pool_of(family, c.eval_split))
        return problems(family, c.eval_split, c.eval_size or held, c.seed)

    def fingerprint(self) -> str:
        """SHA-256 over every problem of every set."""
        content = {"train": self.sets.train, **self.sets.evaluation}
        text = json.dumps({k: [*map(vars, v)] for k, v in content.items()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()
