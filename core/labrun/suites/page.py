"""A suite's report: its question, published numbers beside ours, its arms' names."""

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from labrun.errors import LabError
from labrun.results.page import making
from labrun.results.page.contents import Section, default_path
from labrun.results.page.making import Asked
from labrun.results.sheet import task_notes
from labrun.suites import formats, texts
from labrun.suites.needed import key_of
from labrun.suites.result import Result
from labrun.system.paths import component


def make(
    found: Result, home: Path, console: Console, *, asked: Asked, path: Path | None = None
) -> Path:
    """Write the report of the suite's runs, whose arms have the suite's names; returns its file.

    The suite's question stands where `asked` has none. Raises LabError where no run of it is done.
    """
    if not found.held:
        suite, scale = found.suite.name, found.scale.name
        raise LabError(
            f"no run of suite {suite} at scale={scale} is there; `lab bench {suite}` makes them"
        )
    whole = replace(
        asked,
        title=f"suite {found.suite.name}, {texts.whose(found.scale)}",
        question=asked.question or found.suite.question,
        sections=sections_of(found),
        labels=labels_of(found),
    )
    target = path or default_path(home, component(found.group))
    return making.make(list(found.held.values()), home, console, asked=whole, path=target)


def labels_of(found: Result) -> dict[str, str]:
    """Run id -> the arm and the labels of the axes, in the suite's order."""
    keys = {key_of(one.experiment): one.name for one in found.wanted}
    return {found.held[key].id: name for key, name in keys.items() if key in found.held}


def sections_of(found: Result) -> list[Section]:
    """Published beside ours, those of other rows, scores over all labels of the axes."""
    head, *rows = texts.columns(found)
    about = [f"{title}: {text}" for title, text in [*texts.about(found), *texts.remarks(found)]]
    about += [*texts.seeds_notes(found.numbered), f"runs: {found.counts()}"]
    about += texts.run_notes(found)
    title = "Published beside ours" if found.suite.source else "The suite's table"
    sections = [Section(title, about, head, rows)]
    if published := texts.published_only(found.suite, found.scale):
        head, *rows = published
        sections.append(Section("Published, of other rows", (), head, rows))
    if found.scale.axes and found.over_tasks:
        head, *rows = formats.over_tasks(found)
        notes = task_notes(found.over_tasks, found.baseline)
        sections.append(Section("Over all tasks and labels", notes, head, rows))
    return sections
