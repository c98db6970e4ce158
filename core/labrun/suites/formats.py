"""A suite's table in the formats that papers, pages and programs take."""

import json
from collections.abc import Sequence
from typing import Any

from labrun.results.formats import (
    aggregate_values,
    finite,
    latex_rows,
    latex_text,
    markdown_text,
    piped_rows,
)
from labrun.results.sheet import task_notes
from labrun.suites import table, texts
from labrun.suites.result import Result
from labrun.suites.table import Line

FORMATS = ("text", "md", "latex", "csv", "json")
FIRST_NUMBER = 3
"""Column from which on there are numbers."""
AGGREGATES = ("metric", "arm", "tasks", "seeds", "mean", "IQM")


def formatted(found: Result, kind: str) -> str:
    """The result in one of FORMATS but text."""
    if kind == "csv":
        return table.to_csv(found.lines, found.scale)
    return {"md": to_markdown, "latex": to_latex, "json": to_json}[kind](found)


def to_markdown(found: Result) -> str:
    """Pipe tables, with what is above and below them."""
    said = [f"**{found.suite.name}**: {markdown_text(found.suite.question)}", ""]
    said += [f"- {title}: {markdown_text(text)}" for title, text in texts.about(found)]
    for rows in _tables(found):
        said += ["", *piped_rows(rows, first_number=FIRST_NUMBER)]
    return "\n".join([*said, "", *(f"- {markdown_text(text)}" for text in notes(found)), ""])


def to_latex(found: Result) -> str:
    """Tabulars of booktabs, with what is above and below them in small letters."""
    said = [r"% needs \usepackage{booktabs} and \usepackage[T1]{fontenc}"]
    for rows in _tables(found):
        said += [*latex_rows(rows, first_number=FIRST_NUMBER), r"\par\smallskip"]
    head = [f"{title}: {text}" for title, text in texts.about(found)]
    below = [f"suite {found.suite.name}: {found.suite.question}", *head, *notes(found)]
    small = " ".join(_sentence(latex_text(text)) for text in below)
    return "\n".join([*said, rf"{{\footnotesize {small}}}", ""])


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")


def _tables(found: Result) -> list[Sequence[Sequence[str]]]:
    """The tables that have a line, each with its head."""
    every = (
        texts.published_only(found.suite, found.scale),
        texts.columns(found),
        over_tasks(found),
    )
    return [rows for rows in every if len(rows) > 1]


def over_tasks(found: Result) -> list[list[str]]:
    """Each arm on all tasks at once, below a head; the head alone where there is one task."""
    better = [f"better than {found.baseline}"] if found.baseline else []
    rows = [[*AGGREGATES, *better]]
    for one in found.over_tasks:
        values = [one.mean, one.iqm, *([one.better] if better else [])]
        cells = ["-" if value is None else str(value) for value in values]
        rows.append([one.metric, one.arm, str(len(one.tasks)), str(one.num_seeds), *cells])
    return rows


def notes(found: Result) -> list[str]:
    """The sentences below the tables."""
    return [
        *texts.seeds_notes(found.numbered),
        *task_notes(found.over_tasks, found.baseline),
        *(f"{title}: {text}" for title, text in texts.remarks(found)),
        f"runs: {found.counts()}",
    ]


def to_json(found: Result) -> str:
    """Everything of the result; a number that is not finite is null."""
    source = found.suite.source
    whole = {
        "suite": found.suite.name,
        "question": found.suite.question,
        "scale": found.scale.name,
        "toy": found.scale.toy or None,
        "changed_by": list(found.typed) if found.is_changed else [],
        "source": source and vars(source),
        "rows": [_line_values(line) for line in found.lines],
        "baseline": found.baseline,
        "over_tasks": [aggregate_values(one) for one in found.over_tasks],
        "notes": notes(found),
        "runs": {run.id: run.status().state for run in found.held.values()},
        "num_runs_wanted": len(found.wanted),
    }
    return json.dumps(finite(whole), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _line_values(line: Line) -> dict[str, Any]:
    ours = line.ours
    return {
        "row": line.row.name,
        "arm": line.arm,
        "unit": line.row.unit,
        "is_change": line.row.is_change,
        "published": line.published,
        "ours": ours and {"mean": ours.mean, "low": ours.low, "high": ours.high},
        "num_seeds": line.num_seeds,
        "num_seeds_wanted": line.num_wanted,
    }
