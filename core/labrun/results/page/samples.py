"""Completions of several arms to the same problems, side by side."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from labrun.results.arms import Arm
from labrun.results.page.sources import Source, source_of
from labrun.results.page.words import clean, clipped, counted
from labrun.results.store import reason_of
from labrun.sample import Sample

MOST_ARMS = 4
"""Arms whose completions stand side by side."""
MOST_CHARACTERS = 4_000
"""Of a prompt and of a completion; what is beyond is left out, and said."""
LONG = 1_500
"""Characters of a completion that may be broken over pages of paper."""
MOST_TASKS = 8

ALL, NONE = "all right", "none right"

Key = tuple[str, str, str, str]
"""Task, problem, prompt, answer."""


@dataclass(frozen=True)
class Answer:
    """One arm's completion, in pieces of which the marked ones are true."""

    arm: int
    correct: bool | None
    facts: Sequence[str]
    pieces: Sequence[tuple[str, bool]]


@dataclass(frozen=True)
class Asked:
    """A problem with the answers of the arms that were asked it."""

    task: str
    problem: str
    prompt: str
    answer: str
    answers: Sequence[Answer]

    @property
    def is_long(self) -> bool:
        """Whether it may be broken over pages of paper."""
        return any(sum(len(p) for p, _ in one.pieces) > LONG for one in self.answers)


@dataclass(frozen=True)
class SideBySide:
    """Problems with their answers, how often which arm was right, and what was left out."""

    arms: Sequence[tuple[int, str]]
    """Place among all arms, and label with the seed."""
    asked: Sequence[Asked] = ()
    outcomes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Task -> who was right on the first sample -> on how many problems."""
    meaning: str = ""
    notes: Sequence[str] = ()

    @property
    def who(self) -> list[str]:
        """Everybody who was right on a problem, all of them first and none last."""
        found = {who for counts in self.outcomes.values() for who in counts}
        return sorted(found, key=lambda who: (who == NONE, who != ALL, who))


def side_by_side(arms: Sequence[Arm], *, baseline: str | None, most: int) -> SideBySide | None:
    """At most `most` problems that several arms were asked; first those with different outcomes.

    The baseline stands first. Of each arm it is the run of the lowest seed that all shown arms
    have. None where no evaluator of these runs keeps completions.
    """
    order = sorted(range(len(arms)), key=lambda index: (arms[index].label != baseline, index))
    sources, notes = [], []
    for index in order:
        if source := source_of(arms, index, order):
            sources.append(source)
    if not sources:
        return None
    if len(sources) > MOST_ARMS:
        left = ", ".join(source.label for source in sources[MOST_ARMS:])
        notes.append(f"the first {MOST_ARMS} arms are shown; left out: {left}")
        sources = sources[:MOST_ARMS]
    right, faults = _outcomes(sources)
    sources = [source for source in sources if source.run.id not in faults]
    widest = max(map(len, right.values()), default=0)
    keys = [key for key in right if len(right[key]) == widest]
    chosen = _chosen(keys, right, most)
    asked, meaning = _answers(sources, chosen, right) if chosen else ([], "")
    heads = [(source.arm, f"{source.label}, seed {source.seed}") for source in sources]
    counts = _counts(keys, right, {source.arm: source.label for source in sources})
    notes += [*faults.values(), *_how(len(asked), keys, right, len(sources))]
    return SideBySide(heads, asked, counts, meaning, notes)


Right = dict[Key, dict[int, list[bool | None]]]
"""Problem -> arm -> whether each of its samples is right."""


def _outcomes(sources: Sequence[Source]) -> tuple[Right, dict[str, str]]:
    """The outcomes; and run id -> why its completions were not read."""
    right: Right = {}
    faults = {}
    for source in sources:
        try:
            kept = [(_key(sample), sample.correct) for sample in source.samples()]
        except (Exception, SystemExit) as error:  # a plugin's function
            name = source.run.id
            faults[name] = f"completions of {name} were not read: {reason_of(error)}"
            continue
        for key, correct in kept:
            right.setdefault(key, {}).setdefault(source.arm, []).append(correct)
    return right, faults


def _key(sample: Sample) -> Key:
    return sample.task, sample.problem, sample.prompt, sample.answer


def _chosen(keys: Sequence[Key], right: Right, most: int) -> list[Key]:
    """The problems that are shown, task by task in turn: different outcomes before equal ones."""
    tasks: dict[str, list[Key]] = {}
    for key in sorted(keys, key=lambda key: not _is_different(right[key])):  # sorted is stable
        tasks.setdefault(key[0], []).append(key)
    queues = [tasks[task] for task in sorted(tasks, key=_first_places(keys).__getitem__)]
    queues = queues[:MOST_TASKS]
    chosen: list[Key] = []
    for turn in range(max(map(len, queues), default=0)):
        chosen += [queue[turn] for queue in queues if turn < len(queue)]
    kept = set(chosen[:most])
    return [key for queue in queues for key in queue if key in kept]


def _first_places(keys: Sequence[Key]) -> dict[str, int]:
    return {key[0]: place for place, key in reversed(list(enumerate(keys)))}


def _is_different(of_arms: Mapping[int, Sequence[bool | None]]) -> bool:
    return len({outcomes[0] for outcomes in of_arms.values()}) > 1


def _answers(
    sources: Sequence[Source], chosen: Sequence[Key], right: Right
) -> tuple[list[Asked], str]:
    """The chosen problems with their first answers, and what the marks mean."""
    wanted: dict[Key, dict[int, Answer]] = {key: {} for key in chosen}
    meanings: dict[str, None] = {}
    for source in sources:
        for samples in source.read():
            meanings |= {samples.meaning: None} if samples.meaning else {}
            for sample in samples.samples:
                key = _key(sample)
                if key in wanted and source.arm not in wanted[key]:
                    wanted[key][source.arm] = _answer(sample, source.arm, right[key][source.arm])
    asked = [
        Asked(clean(key[0]), clean(key[1]), _text(key[2]), _text(key[3]), list(answers.values()))
        for key, answers in wanted.items()
    ]
    return asked, "; ".join(meanings)


def _text(text: str) -> str:
    return clipped(clean(text), MOST_CHARACTERS)


def _answer(sample: Sample, arm: int, outcomes: Sequence[bool | None]) -> Answer:
    facts = [clean(fact) for fact in sample.facts]
    if len(outcomes) > 1 and None not in outcomes:
        facts.append(f"{sum(map(bool, outcomes))} of {len(outcomes)} samples right")
    return Answer(arm, sample.correct, facts, pieces(sample.completion, sample.marked))


def pieces(text: str, marked: Sequence[tuple[int, int]]) -> list[tuple[str, bool]]:
    """The text in pieces, each with whether it is marked, up to MOST_CHARACTERS.

    >>> pieces("no wait", [(3, 7)])
    [('no ', False), ('wait', True)]
    """
    found, end, whole = [], 0, clean(text[:MOST_CHARACTERS])
    for start, stop in marked:
        if end <= start < stop <= len(whole):
            found += [(whole[end:start], False), (whole[start:stop], True)]
            end = stop
    rest = whole[end:]
    if len(text) > len(whole):
        rest += f" … ({len(text):,} characters)"
    return [(piece, is_marked) for piece, is_marked in [*found, (rest, False)] if piece]


def _counts(
    keys: Sequence[Key], right: Right, labels: Mapping[int, str]
) -> dict[str, Counter[str]]:
    """Task -> who was right on its first sample -> on how many problems."""
    counts: dict[str, Counter[str]] = {}
    for key in keys:
        firsts = {arm: outcomes[0] for arm, outcomes in right[key].items()}
        if None in firsts.values():
            continue
        who = [labels[arm] for arm, is_right in firsts.items() if is_right]
        counts.setdefault(clean(key[0]), Counter()).update(_who(who, len(firsts)))
    return counts


def _who(right: Sequence[str], num_arms: int) -> list[str]:
    """Where a problem counts: of two arms in one place, of more under each arm that was right."""
    if not right:
        return [NONE]
    everybody = [ALL] if len(right) == num_arms else []
    if num_arms > 2:
        return [*everybody, *(f"{label} right" for label in right)]
    return everybody or [f"only {right[0]}"]


def _how(shown: int, keys: Sequence[Key], right: Right, num_arms: int) -> list[str]:
    """How the shown problems were chosen."""
    if not right:
        return ["these runs have kept no completions"]
    different = sum(_is_different(right[key]) for key in keys)
    is_common = len(right[keys[0]]) > 1
    whose = "that these arms have in common" if is_common else "of one arm each"
    said = [f"{shown} of {counted(len(keys), 'problem')} {whose}, the first sample of each"]
    if is_common:
        said[0] += f"; those on which arms differ ({different}) come first, in the data's order"
    if num_arms > 1 and not is_common:
        said.append("no problem was asked of two of these arms: none can be compared")
    if alone := len(right) - len(keys):
        said.append(f"{counted(alone, 'problem')} that not all of them were asked: left out")
    return said
