"""What a report asks: the note of its runs, or what they vary, in words."""

from collections.abc import Mapping, Sequence

from labrun.results.arms import Arm
from labrun.results.page.words import clean, counted, joined, short
from labrun.runs import notes
from labrun.runs.record import RunRecord

MOST_VALUES = 6
LONGEST = 160
"""Characters of a heading."""
LONG_LABEL = 24
"""Characters of an arm's label that fit beside the other facts."""
OWN = ("seed", "group", "plugin")


def question_of(arms: Sequence[Arm], runs: Sequence[RunRecord]) -> str:
    """The note that the runs have, where they have one; else what differs between them."""
    said = list(dict.fromkeys(note for run in runs if (note := notes.known(run.path).note)))
    if len(said) == 1:
        return said[0]
    if len(arms) == 1:
        return f"How well does {short(arms[0].label)} do?"
    axes = _axes([run for arm in arms for run in arm.runs])
    asked = _of_axes(axes) if axes else f"How do {_some([arm.label for arm in arms])} compare?"
    return asked if len(asked) <= LONGEST else f"How do these {len(arms)} arms compare?"


def parted(text: str) -> tuple[str, str]:
    """The first line as a heading, and what follows; a heading is not long."""
    first, _, rest = clean(text.strip()).partition("\n")
    if len(first) <= LONGEST:
        return first, rest.strip()
    cut = first.rfind(" ", 0, LONGEST)
    cut = cut if cut > 0 else LONGEST
    return f"{first[:cut]} …", f"… {first[cut:].strip()}\n{rest}".strip()


def _of_axes(axes: Mapping[str, Sequence[str]]) -> str:
    if len(axes) == 1:
        key, values = next(iter(axes.items()))
        return f"What difference does {clean(key)} make: {_some(values, by='or')}?"
    parts = [f"{clean(key)} ({_some(values)})" for key, values in axes.items()]
    return f"What difference do {joined(parts)} make?"


def _axes(runs: Sequence[RunRecord]) -> dict[str, list[str]]:
    """Key -> values, of what the command lines say differently; a preset's default counts."""
    said = [dict(word.split("=", 1) for word in run.experiment().overrides) for run in runs]
    chosen = [run.experiment().choices for run in runs]
    keys = dict.fromkeys(key for words in said for key in words if key not in OWN)
    found = {}
    for key in keys:
        values = [
            words.get(key, of.get(key, "default")) for words, of in zip(said, chosen, strict=True)
        ]
        if len(set(values)) > 1:
            found[key] = list(dict.fromkeys(values))
    return found


def scope_of(arms: Sequence[Arm]) -> list[tuple[str, str]]:
    """What the answer rests on: plugin, arms, seeds, steps of training, tasks."""
    runs = [run for arm in arms for run in arm.runs]
    plugins = list(dict.fromkeys(run.experiment().plugin for run in runs))
    tasks = list(dict.fromkeys(task for run in runs for task in _tasks(run)))
    steps = [max(at) for run in runs for at in run.scores().values()]
    return [
        ("plugin" if len(plugins) == 1 else "plugins", _some(plugins)),
        (counted(len(arms), "arm"), _some(_names([arm.label for arm in arms]))),
        ("seeds an arm", _from_to([len(arm.runs) for arm in arms])),
        *([("optimizer steps", _from_to(steps))] if steps else []),
        (counted(len(tasks), "task"), _some(tasks) if tasks else "no scores"),
    ]


def _names(labels: Sequence[str]) -> list[str]:
    """The arms' labels; their methods alone where a label is long and these tell them apart."""
    methods = [label.partition(" ")[0] for label in labels]
    if max(map(len, labels)) > LONG_LABEL and len(set(methods)) == len(labels):
        return methods
    return [short(label, LONG_LABEL) for label in labels]


def _from_to(counts: Sequence[int]) -> str:
    """`4`, or `4 to 80`."""
    return " to ".join(f"{n:,}" for n in dict.fromkeys((min(counts), max(counts))))


def _tasks(run: RunRecord) -> list[str]:
    """The tasks that the run was scored on; a mean over some of them is none."""
    return [task for (task, _), steps in run.scores().items() if not steps[max(steps)].over]


def _some(names: Sequence[str], *, by: str = "and") -> str:
    first = [short(name, 40) for name in names[:MOST_VALUES]]
    more = len(names) - MOST_VALUES
    return joined([*first, f"{more} more"] if more > 0 else first, by)
