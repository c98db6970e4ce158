"""Where the runs of a report come from: code, packages, machines, data, times."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires
from typing import Any

from labrun.errors import LabError
from labrun.results.page.words import clean, counted, moment
from labrun.runs.record import RunRecord
from labrun.system.json_files import read_object

UNKNOWN = "not recorded"
MOST_VALUES = 8
FILE = "provenance.json"


@dataclass(frozen=True)
class Fact:
    """A fact with its values, each with the number of runs that have it; empty where it is all."""

    name: str
    values: Sequence[tuple[str, str]]


def facts(runs: Sequence[RunRecord]) -> list[Fact]:
    """What the runs recorded of themselves, by fact."""
    recorded = [(run, _recorded(run)) for run in runs]
    return [_fact(name, [of(run, said) for run, said in recorded]) for name, of in FACTS.items()]


def _recorded(run: RunRecord) -> dict[str, Any]:
    try:
        return read_object(run.path / FILE)
    except (OSError, LabError):
        return {}


def _fact(name: str, values: Sequence[str]) -> Fact:
    by_value: dict[str, int] = {}
    for value in values:
        by_value[clean(value) or UNKNOWN] = by_value.get(clean(value) or UNKNOWN, 0) + 1
    if len(by_value) == 1:
        return Fact(name, [(next(iter(by_value)), "")])
    shown = [(value, counted(n, "run")) for value, n in list(by_value.items())[:MOST_VALUES]]
    if more := len(by_value) - MOST_VALUES:
        shown += [(f"and {more} more values", "")] if more > 0 else []
    return Fact(name, shown)


def _code(run: RunRecord, said: Mapping[str, Any]) -> str:
    del run
    return "; ".join(map(_repository, _repositories(said)))


def _repositories(said: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = said.get("repositories")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _repository(one: Mapping[str, Any]) -> str:
    names = one.get("distributions")
    of = ", ".join(map(str, names)) if isinstance(names, list) else ""
    text = f"{of} at commit {one.get('commit')}"
    if one.get("changed"):
        diff = f" ({one['diff']} of the run has them)" if one.get("diff") else ""
        text += f", with uncommitted changes{diff}"
    untracked = one.get("untracked")
    if isinstance(untracked, list) and untracked:
        text += f", {counted(len(untracked), 'untracked code file')}"
    return text


def _versions(run: RunRecord, said: Mapping[str, Any]) -> str:
    """Python, and the packages that labrun requires."""
    del run
    packages = said.get("packages")
    if not isinstance(packages, dict):
        return ""
    wanted = {_plain(name) for name in _required()}
    kept = {name: of for name, of in packages.items() if _plain(str(name)) in wanted}
    python = str(said.get("python", "")).partition(" ")[0]
    named = [f"{name} {kept[name]}" for name in sorted(kept, key=str.lower)]
    return ", ".join([f"Python {python}", *named])


def _required() -> list[str]:
    try:
        return ["labrun", *(requires("labrun") or ())]
    except PackageNotFoundError:
        return ["labrun"]


def _plain(requirement: str) -> str:
    """The normalised name that a requirement begins with; an extra's requirement has none."""
    if "extra ==" in requirement:
        return ""
    name = requirement.split(";")[0].split("[")[0]
    for sign in "<>=!~ ":
        name = name.split(sign)[0]
    return name.lower().replace("_", "-")


def _machine(run: RunRecord, said: Mapping[str, Any]) -> str:
    if not said:
        return run.status().host
    cores, memory = said.get("cpu_count"), said.get("memory_gib")
    return f"{said.get('host')}: {said.get('platform')}, {cores} CPUs, {memory} GiB"


def _devices(run: RunRecord, said: Mapping[str, Any]) -> str:
    del said
    return ", ".join(run.status().devices) or "no GPU"


def _data(run: RunRecord, said: Mapping[str, Any]) -> str:
    del said
    try:
        return run.data_fingerprint() or ""
    except LabError:
        return "damaged"


def _times(run: RunRecord, said: Mapping[str, Any]) -> str:
    del said
    status = run.status()
    ended = f" to {moment(status.ended)}" if status.ended else ""
    return f"{moment(status.started or run.created())}{ended}"


FACTS: Mapping[str, Callable[[RunRecord, Mapping[str, Any]], str]] = {
    "code": _code,
    "packages": _versions,
    "machine": _machine,
    "devices": _devices,
    "data (sha256)": _data,
    "time": _times,
}


def commits(runs: Sequence[RunRecord]) -> dict[str, dict[str, bool]]:
    """Distributions -> commit -> whether any run had uncommitted changes of it."""
    found: dict[str, dict[str, bool]] = {}
    for run in runs:
        for one in _repositories(_recorded(run)):
            of = one.get("distributions")
            name = ", ".join(map(str, of)) if isinstance(of, list) else ""
            by_commit = found.setdefault(name, {})
            commit = str(one.get("commit"))
            by_commit[commit] = by_commit.get(commit, False) or bool(one.get("changed"))
    return found
