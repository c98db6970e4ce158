"""The table in the formats that papers, pages and programs take."""

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from labrun.results.cells import Cell
from labrun.results.comparison import Comparison, beside_the_labels, mixed
from labrun.results.directions import direction
from labrun.results.over_tasks import Aggregate
from labrun.results.paired import Difference
from labrun.results.sheet import Entry, Sheet, best_of
from labrun.results.statistics.intervals import Bounded, Interval
from labrun.runs.record import RunRecord

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
}
MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~$&])")


def latex_text(text: str) -> str:
    """The text as LaTeX prints it, in one line; quotes need the encoding T1."""
    return "".join(LATEX.get(letter, letter) for letter in " ".join(text.split()))


def markdown_text(text: str) -> str:
    """The text as Markdown shows it, in one line."""
    return MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def to_markdown(sheet: Sheet) -> str:
    """A pipe table with its notes below; the best of a row in bold."""
    head = ["task", "metric", *map(markdown_text, sheet.columns)]
    lines = piped_head(head, first_number=2)
    for key, entries in [*sheet.rows.items(), *sheet.summary.items()]:
        cells = [_entry(one, markdown_text, bold="**{}**", mark="{}") for one in entries]
        lines.append(_piped([*map(markdown_text, key), *cells]))
    return "\n".join([*lines, "", *(f"- {markdown_text(note)}" for note in sheet.notes), ""])


def piped_rows(rows: Sequence[Sequence[str]], *, first_number: int) -> list[str]:
    """The lines of a pipe table of these texts; the first row is its head."""
    head, *body = [[*map(markdown_text, row)] for row in rows]
    return [*piped_head(head, first_number=first_number), *map(_piped, body)]


def piped_head(head: Sequence[str], *, first_number: int) -> list[str]:
    """The head of a pipe table whose columns are numbers from this one on."""
    marks = ["---" if column < first_number else "---:" for column in range(len(head))]
    return [_piped(head), _piped(marks)]


def _piped(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _entry(entry: Entry | None, text: Callable[[str], str], *, bold: str, mark: str) -> str:
    if entry is None:
        return "-"
    shown = text(entry.text)
    shown = bold.format(shown) if entry.is_best else shown
    return shown + (mark.format(text(entry.mark)) if entry.mark else "")


def to_latex(sheet: Sheet) -> str:
    """A tabular of booktabs with its notes below; the best of a row in bold."""
    head = ["task", "metric", *map(_stacked, sheet.columns)]
    lines = [
        r"% needs \usepackage{booktabs} and \usepackage[T1]{fontenc}",
        rf"\begin{{tabular}}{{ll{'r' * len(sheet.columns)}}}",
        r"\toprule",
        _row(head),
        r"\midrule",
    ]
    lines += map(_latex_row, sheet.rows.items())
    if sheet.summary:
        lines += [r"\midrule", *map(_latex_row, sheet.summary.items())]
    notes = " ".join(f"{_sentence(latex_text(note))}" for note in sheet.notes)
    end = [r"\bottomrule", r"\end{tabular}", r"\par\smallskip", rf"{{\footnotesize {notes}}}", ""]
    return "\n".join([*lines, *end])


def _stacked(label: str) -> str:
    """An arm's label with each word in a line of its own, so that its column is narrow."""
    words = [latex_text(word) for word in label.split(" ")]
    return words[0] if len(words) == 1 else r"\shortstack[r]{" + r" \\ ".join(words) + "}"


def latex_rows(rows: Sequence[Sequence[str]], *, first_number: int) -> list[str]:
    """The lines of a tabular of these texts; the first row is its head, and a line whose first
    cell is empty goes on with the one before it."""
    head, *body = [[*map(latex_text, row)] for row in rows]
    kinds = "l" * first_number + "r" * (len(head) - first_number)
    lines = [rf"\begin{{tabular}}{{{kinds}}}", r"\toprule", _row(head), r"\midrule"]
    for place, row in enumerate(body):
        lines += [r"\addlinespace"] if place and row[0] else []
        lines.append(_row(row))
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _latex_row(row: tuple[tuple[str, str], Sequence[Entry | None]]) -> str:
    key, entries = row
    cells = [
        _entry(one, latex_text, bold=r"\textbf{{{}}}", mark=r"\rlap{{\textsuperscript{{{}}}}}")
        for one in entries
    ]
    return _row([*map(latex_text, key), *cells])


def _row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def to_json(found: Comparison) -> str:
    """Everything of the comparison; a number that is not finite is null."""
    tests = {(d.task, d.metric, d.arm): d for d in found.against}
    rows = []
    for (task, metric), cells in found.table.rows.items():
        best = best_of(cells, direction(metric, lower=found.lower, task=task))
        for arm, cell in cells.items():
            row = {"task": task, "metric": metric, "arm": arm, **_numbers(cell)}
            test = tests.get((task, metric, arm))
            rows.append(row | {"is_best": arm in best, "test": _test(test) if test else None})
    whole = {
        "columns": list(found.table.columns),
        "baseline": found.baseline,
        "notes": list(found.sheet.notes),
        "rows": rows,
        "over_tasks": [aggregate_values(one) for one in found.over_tasks],
        "runs": {arm.label: [_run(run) for run in arm.runs] for arm in found.arms},
        "left_out": found.left_out,
        "differing": beside_the_labels(found.arms),
        "warnings": mixed(found.arms),
    }
    return json.dumps(finite(whole), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _run(run: RunRecord) -> dict[str, Any]:
    settings = run.experiment().run
    return {"run": run.id, "seed": settings.seed, "group": settings.group}


def _numbers(cell: Cell) -> dict[str, Any]:
    return {
        "mean": cell.mean,
        "low": cell.low,
        "high": cell.high,
        "interval": cell.by,
        "num_seeds": cell.n,
        "num_problems": cell.num_problems,
        "values": list(cell.values),
    }


def aggregate_values(one: Aggregate) -> dict[str, Any]:
    """What `to_json` says of an arm on several tasks."""
    return {
        "metric": one.metric,
        "arm": one.arm,
        "tasks": list(one.tasks),
        "num_seeds": one.num_seeds,
        "mean": _ends(one.mean),
        "iqm": _ends(one.iqm),
        "better_than_baseline": _ends(one.better),
    }


def _ends(value: Interval | Bounded | None) -> dict[str, float] | None:
    if value is None:
        return None
    return {"value": value.mean, "low": value.low, "high": value.high}


def _test(found: Difference) -> dict[str, Any]:
    return {
        "difference": found.difference.mean,
        "low": found.difference.low,
        "high": found.difference.high,
        "paired_by": found.by,
        "num_pairs": found.difference.n,
        "p": found.p,
        "p_holm": found.p_holm,
        "p_sign_flip": found.p_flip,
        "p_sign_flip_holm": found.p_flip_holm,
    }


def finite(value: Any) -> Any:
    """The value with None in place of numbers that are not finite, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list) else value
