"""The runs that a suite needs, and which of them its group holds."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from labrun.config.experiments import expand, studied
from labrun.config.placed_words import Placed
from labrun.config.word_files import located, refuse_axes, replaced, same_key, texts
from labrun.config.words import is_sweep
from labrun.errors import LabError, listed, shown
from labrun.experiment import Experiment
from labrun.results.differing import settings_in
from labrun.runs.run_dir import RunDir
from labrun.suites.earlier import completed
from labrun.suites.suite import Scale, Suite, Words


@dataclass(frozen=True)
class Needed:
    """One run of a suite: an arm at one label of each axis, with one seed."""

    arm: str
    point: Mapping[str, str]
    """Axis -> label."""
    seed: int
    experiment: Experiment = field(compare=False)
    words: Words = field(compare=False)

    @property
    def name(self) -> str:
        """The arm and the labels of the axes."""
        return " ".join([self.arm, *self.point.values()])


def group_of(suite: Suite, scale: Scale) -> str:
    return f"{suite.name}-{scale.name}"


def scale_of(suite: Suite, name: str | None) -> Scale:
    """The scale of this name, or the first. Raises LabError where there is none."""
    if name is None:
        return next(iter(suite.scales.values()))
    if name not in suite.scales:
        allowed = listed(suite.scales)
        raise LabError(f"suite {suite.name} has no scale '{shown(name)}'; allowed: {allowed}")
    return suite.scales[name]


def needed(
    suite: Suite, scale: Scale, *, seeds: str | None = None, typed: Sequence[str] = ()
) -> list[Needed]:
    """Every run of the suite at the scale, composed and checked.

    `typed` are words of the command, which every run has. Raises LabError, with file and line, for
    a word that does not fit.
    """
    own = [Placed(word) for word in typed]
    _refuse_typed(suite, scale, own)
    group = [Placed(f"group={group_of(suite, scale)}")]
    numbers = [f"seed={value}" for value in _values(scale.seeds if seeds is None else seeds)]
    found = []
    for arm, point, words in _points(scale):
        common = replaced(replaced([*scale.overrides, *group], words), own)
        for seed in numbers:
            found.append(_one(arm, point, [*common, Placed(seed)], suite))
    if not found:
        text = f"suite {suite.name} at scale={scale.name} holds no run"
        raise LabError(f"{text}: leave_out leaves none; take an entry out of it")
    _refuse_equal(found, suite)
    return found


def _values(seeds: str) -> list[str]:
    return [point[0].partition("=")[2] for point in expand([f"seed={seeds}"])]


def _points(scale: Scale) -> Iterator[tuple[str, dict[str, str], Words]]:
    """Each arm with each combination of the axes' labels, and the words of both."""
    for arm, words in scale.arms.items():
        for labels in itertools.product(*scale.axes.values()):
            point = dict(zip(scale.axes, labels, strict=True))
            if not any(left.items() <= {"arm": arm, **point}.items() for left in scale.left_out):
                at_axes = [w for axis, label in point.items() for w in scale.axes[axis][label]]
                yield arm, point, tuple(replaced(at_axes, words))


def _one(arm: str, point: dict[str, str], words: Sequence[Placed], suite: Suite) -> Needed:
    with located([words]):
        if swept := [word for word in words if is_sweep([word.word])]:
            text = f"{swept[0].word}: a suite has no sweeps; name arms, or an axis"
            raise LabError(f"{text} ({swept[0].place})" if swept[0].place else text)
        found = studied(texts(words))
    if len(found) > 1:
        axes = ", ".join(found[0].run.sweep)
        raise LabError(
            f"arm {arm} of suite {suite.name} leaves a study's sweep open: {axes}; name one value"
        )
    return Needed(arm, point, found[0].run.seed, found[0], tuple(words))


def _refuse_typed(suite: Suite, scale: Scale, typed: Sequence[Placed]) -> None:
    """Raise LabError for a typed word that would make the suite another one."""
    for word in typed:
        if word.key == "seed":
            raise LabError(f"{shown(word.word)}: the seeds of a suite are set by --seeds")
    labels = [scale.arms, *scale.axes.values()]
    words = [word for named in labels for its_words in named.values() for word in its_words]
    refuse_axes(typed, {f"suite {suite.name}": words})


def _refuse_equal(found: Sequence[Needed], suite: Suite) -> None:
    by_key: dict[str, Needed] = {}
    for one in found:
        other = by_key.setdefault(key_of(one.experiment), one)
        if other is not one and other.name == one.name:
            raise LabError(f"seed {one.seed} stands twice among the seeds; name it once")
        if other is not one:
            names = f"{other.name!r} and {one.name!r}"
            raise LabError(f"{names} of suite {suite.name} are equal runs of seed {one.seed}")


def key_of(experiment: Experiment) -> str:
    """Equal for runs of equal seed and equal settings, wherever they run."""
    settings = [experiment.run.seed, settings_in(experiment)]
    return json.dumps(settings, sort_keys=True, default=str)


def held(runs: Sequence[RunDir], wanted: Sequence[Needed]) -> dict[str, RunDir]:
    """Key -> the run that has it already: a done one, else the newest.

    What a run of an earlier version lacks counts at its default.
    """
    keys = {key_of(one.experiment) for one in wanted}
    found: dict[str, RunDir] = {}
    for run in runs:
        try:
            experiment = run.experiment()
            key = key_of(experiment)
            key = key if key in keys else key_of(completed(experiment))
        except LabError:  # `lab compare` and `lab doctor` name it
            continue
        if key in keys and not (key in found and found[key].status().state == "done"):
            found[key] = run
    return found


def not_given(scale: Scale, typed: Sequence[str]) -> list[str]:
    """What the scale needs of the command and the words do not set, a sentence each."""
    words = [Placed(word) for word in typed]
    return [
        f"{key}=...: {what}"
        for key, what in scale.needs.items()
        if not any(same_key(Placed(f"{key}="), word) for word in words)
    ]


def is_changed(suite: Suite, scale: Scale, typed: Sequence[str]) -> bool:
    """Whether the typed words change what the runs' results depend on."""
    words = [Placed(word) for word in typed]
    free = [Placed(f"{key}=") for key in scale.needs]
    typed = [word.word for word in words if not any(same_key(word, key) for key in free)]
    if not typed:
        return False
    seed = _values(scale.seeds)[0]
    as_written = needed(suite, scale, seeds=seed)
    as_typed = needed(suite, scale, seeds=seed, typed=typed)
    keys = [[key_of(one.experiment) for one in found] for found in (as_written, as_typed)]
    return keys[0] != keys[1]
