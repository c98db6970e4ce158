"""Which runs a filter means: words such as `method=rlrt state=done in_domain/accuracy>0.8`.

A word is KEY OP VALUE. The operators are `=`, `!=`, `<`, `>`, `<=` and `>=`; all words must hold.
`=` and `!=` take alternatives with commas: any of them, none of them. A value in quotes may hold
spaces and commas. Numbers are compared as numbers, all else as text. `created` is compared to the
precision of the value: no run of 26 November is later than `2026-11-26`, nor earlier.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from labrun.errors import LabError, shown, unknown
from labrun.runs.facts import FIXED, RunFacts, Value
from labrun.runs.run_index import Entry
from labrun.runs.run_status import STATES
from labrun.runs.seals import DamagedError

OPERATORS = ("!=", "<=", ">=", "=", "<", ">")
STATES_SHOWN = (*STATES, "damaged")
"""Every state that a list shows."""
_WORD = re.compile(r"""(?:[^\s'"]|'[^']*'|"[^"]*")+""")
_QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")
_COMMA = re.compile(r""",(?=(?:[^'"]|'[^']*'|"[^"]*")*$)""")
_CLAUSE = re.compile(r"(?P<key>[^=!<>]+)(?P<op>!=|<=|>=|=|<|>)(?P<text>.*)", re.DOTALL)
_ORDER = {
    "<": lambda mine, other: mine < other,
    ">": lambda mine, other: mine > other,
    "<=": lambda mine, other: mine <= other,
    ">=": lambda mine, other: mine >= other,
}


@dataclass(frozen=True)
class Clause:
    """One word of a filter; `values` are its alternatives."""

    key: str
    op: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.key}{self.op}{','.join(self.values)}"

    def holds(self, own: Sequence[Value]) -> bool:
        """Whether it holds of a run with these values of the key; none: the run lacks it."""
        if self.op in _ORDER:
            ranked = self._moment(own) if self.key == "created" else own
            return any(_ordered(self.op, value, self.values[0]) for value in ranked)
        mine = list(own) or [""]
        equal = any(_equal(value, text) for value in mine for text in self.values)
        return equal == (self.op == "=")

    def _moment(self, own: Sequence[Value]) -> Sequence[Value]:
        """When the run began, as exactly as the filter says it; `own` has the full form first."""
        return [str(moment)[: len(self.values[0])] for moment in own[:1]]


def parse(text: str) -> list[Clause]:
    """The words of a filter. Raises LabError for one that cannot be read."""
    if _WORD.sub("", text).strip():
        raise LabError(f"filter '{shown(text)}': a quote is not closed")
    return [_clause(word) for word in _WORD.findall(text)]


def _clause(word: str) -> Clause:
    match = _CLAUSE.fullmatch(word)
    if match is None:
        raise LabError(
            f"cannot read '{shown(word)}' in the filter, expected KEY OP VALUE without spaces, "
            f"OP one of {' '.join(OPERATORS)}"
        )
    key, op, text = match["key"], match["op"], match["text"]
    values = _alternatives(text)
    if op in _ORDER and (len(values) > 1 or values == ("",)):
        raise LabError(f"'{shown(word)}': {op} takes one value; commas go with = and !=")
    clause = Clause(key, op, values)
    _refuse_unknown_state(clause)
    return clause


def _alternatives(text: str) -> tuple[str, ...]:
    """The values between commas, without their quotes."""
    return tuple(_QUOTED.sub(lambda found: found[0][1:-1], part) for part in _COMMA.split(text))


def _refuse_unknown_state(clause: Clause) -> None:
    for value in clause.values if clause.key == "state" and clause.op not in _ORDER else ():
        if value not in STATES_SHOWN:
            raise unknown("state", value, STATES_SHOWN)


def _ordered(op: str, mine: Value, text: str) -> bool:
    if isinstance(mine, bool) or mine is None:
        return False
    if isinstance(mine, int | float):
        number = _number(text)
        return number is not None and _ORDER[op](float(mine), number)
    return _ORDER[op](mine, text)


def _equal(mine: Value, text: str) -> bool:
    if isinstance(mine, bool) or mine is None:
        return text.lower() == {True: "true", False: "false", None: "null"}[mine]
    if isinstance(mine, int | float) and (number := _number(text)) is not None:
        return mine == number
    return str(mine) == text


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


@dataclass(frozen=True)
class Selection:
    """The runs that a filter left, as facts, and id -> why a run could not be asked."""

    runs: Sequence[RunFacts]
    unasked: dict[str, str]

    @cached_property
    def entries(self) -> list[Entry]:
        return [facts.entry for facts in self.runs]


def select(entries: Iterable[Entry], text: str = "", sort: str = "") -> Selection:
    """The runs for which every word of the filter holds, in their order or by the key `sort`, from
    the greatest down with a `-` before it; those without the key come last.

    Words that need few files are asked first, so that scores are read of the runs alone that all
    others left. Raises LabError for a filter that cannot be read, or a key that no run has.
    """
    every = [RunFacts(entry) for entry in entries]
    clauses = parse(text)
    for key in [*(clause.key for clause in clauses), *([sort.removeprefix("-")] if sort else ())]:
        _refuse_unknown(key, every)
    runs, unasked = every, dict[str, str]()
    for clause in sorted(clauses, key=lambda one: _cost(one.key, every)):
        runs = [one for one in runs if clause.holds(_asked(one, clause.key, unasked))]
        runs = [one for one in runs if one.entry.id not in unasked]
    return Selection(_sorted(runs, sort, unasked) if sort else runs, unasked)


def _asked(run: RunFacts, key: str, unasked: dict[str, str]) -> Sequence[Value]:
    try:
        return run.values(key)
    except DamagedError as error:
        unasked[run.entry.id] = str(error)
        return ()


def _sorted(runs: Sequence[RunFacts], sort: str, unasked: dict[str, str]) -> list[RunFacts]:
    key = sort.removeprefix("-")
    values = {one.entry.id: _asked(one, key, unasked) for one in runs}
    having = [one for one in runs if values[one.entry.id]]
    lacking = [one for one in runs if not values[one.entry.id]]
    having.sort(key=lambda one: _rank(values[one.entry.id][0]), reverse=sort != key)
    return [*having, *lacking]


def _rank(value: Value) -> tuple[int, Any]:
    """Numbers before text, each in its own order."""
    if isinstance(value, int | float):
        return 0, float(value)
    return 1, str(value)


def _cost(key: str, runs: Sequence[RunFacts]) -> int:
    """0 of what the index says, 1 of a setting, 2 of a score."""
    if key in FIXED or any(key in one.entry.facts for one in runs):
        return 0
    return 2 if "/" in key else 1


def _refuse_unknown(key: str, runs: Sequence[RunFacts]) -> None:
    """Raise LabError, with the nearest key, where none of the runs has this one."""
    if key in FIXED or not runs or any(one.has(key) for one in runs):
        return
    names = dict.fromkeys(name for one in runs for name in one.every_key())
    raise unknown("key", key, [*FIXED, *names], of="these runs")
