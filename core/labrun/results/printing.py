"""What `lab compare` prints of a comparison on a terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Column
from rich.table import Table as RichTable

from labrun.results import paired
from labrun.results.cells import MEANING
from labrun.results.compare import Table, named_intervals
from labrun.results.comparison import Comparison, beside_the_labels, mixed, some
from labrun.results.over_tasks import Aggregate
from labrun.results.paired import Difference
from labrun.results.sheet import not_finite, task_notes
from labrun.results.statistics.intervals import Bounded, Interval
from labrun.results.statistics.significance import smallest_permutation_p
from labrun.score import p_text, seeds_text

WIDEST = 10_000
MOST_SETTINGS = 20
"""How many differing settings are printed."""
FEW_SEEDS = 5


def print_table(found: Comparison, console: Console) -> None:
    """The scores, and what their intervals are of."""
    table = found.table
    wide = _one_column_an_arm(table)
    unbound = console.options.update(width=WIDEST)
    fits = console.measure(wide, options=unbound).maximum <= console.width
    console.print(wide if fits else _one_row_an_arm(table))
    seeds = sorted({len(arm.runs) for arm in found.arms})
    console.print(f"mean over {seeds_text(seeds)} {_intervals(table)}", soft_wrap=True)
    if nans := not_finite(table):
        console.print(f"not finite in some run: {some(nans)}", style="yellow", soft_wrap=True)
    if "problems" in named_intervals(table):
        console.print("an interval over problems says nothing of other seeds", soft_wrap=True)
    if seeds[0] < FEW_SEEDS:
        console.print("fewer than 5 seeds: read a difference between methods as a hint, no more")


def _intervals(table: Table) -> str:
    used = named_intervals(table)
    if not used:
        return "without an interval: neither seeds nor problems repeat"
    parts = []
    for by, columns in used.items():
        sign = "[low, high]:" if by == "bootstrap" else "± half"
        of = f" ({some(columns)})" if len(used) > 1 else ""
        parts.append(f"{sign} {MEANING[by]}{of}")
    return "; ".join(parts)


def _one_column_an_arm(table: Table) -> RichTable:
    shown = RichTable("task", "metric", box=None, pad_edge=False)
    for column in table.columns:
        shown.add_column(column, justify="right")
    for (task, metric), cells in table.rows.items():
        shown.add_row(task, metric, *(str(cells.get(column, "-")) for column in table.columns))
    return shown


def _one_row_an_arm(table: Table) -> RichTable:
    """The table for labels that are too wide for one column an arm."""
    shown = RichTable("task", "metric", "arm", Column("value", justify="right"), box=None)
    for (task, metric), cells in table.rows.items():
        for arm, cell in cells.items():
            shown.add_row(task, metric, arm, str(cell))
    return shown


def print_over_tasks(
    found: Sequence[Aggregate], baseline: str | None, console: Console, *, of: str = ""
) -> None:
    """Each arm on all tasks at once; nothing where there is one task. `of` ends the heading."""
    if not found:
        return
    console.print(f"\nover several tasks at once{of}")
    better = f"better than {baseline}"
    columns = [name for name in ("mean", "IQM") if any(one.iqm for one in found)]
    columns += [better] if any(one.better for one in found) else []
    shown = RichTable("metric", "arm", box=None, pad_edge=False)
    for name in columns:
        shown.add_column(name, justify="right")
    for one in found:
        cells = {"mean": one.mean, "IQM": one.iqm, better: one.better}
        shown.add_row(one.metric, one.arm, *(_or_dash(cells[name]) for name in columns))
    console.print(shown)
    for note in task_notes(found, baseline):
        console.print(note, soft_wrap=True)


def _or_dash(value: Interval | Bounded | None) -> str:
    return "-" if value is None else str(value)


def print_warnings(found: Comparison, console: Console) -> None:
    """What differs beside the labels, and the runs that are left out."""
    _print_settings(found, console)
    for sentence in mixed(found.arms):
        console.print(sentence, style="yellow", soft_wrap=True)
    for name, fault in found.damaged.items():
        console.print(f"left out, damaged: {name}: {fault}", style="yellow", soft_wrap=True)
    for name, newer in found.repeated.items():
        text = f"left out, the same settings and seed again: {name}; the newer {newer} counts"
        console.print(text, style="yellow", soft_wrap=True)
    if left := found.not_done:
        parts = ", ".join(f"{name} ({why})" for name, why in left.items())
        count = f"{len(left)} of {found.num_runs} runs"
        console.print(f"left out, not done: {count}: {parts}", style="yellow", soft_wrap=True)


def _print_settings(found: Comparison, console: Console) -> None:
    differing = beside_the_labels(found.arms)
    if not differing:
        return
    console.print("besides their labels, the arms differ in:")
    for key, by_value in list(differing.items())[:MOST_SETTINGS]:
        values = (f"{value} ({some(labels)})" for value, labels in by_value.items())
        console.print(f"  {key}: {', '.join(values)}", soft_wrap=True)
    if len(differing) > MOST_SETTINGS:
        console.print(f"  and {len(differing) - MOST_SETTINGS} more; `lab runs show` has them")


def print_tests(found: Comparison, console: Console) -> None:
    """The differences to the baseline, and the arms that could not be tested."""
    assert found.baseline is not None
    print_differences(found.against, found.baseline, console)
    for label in paired.untested(found.arms, found.baseline, found.against):
        text = f"not tested: {label} shares no seed and score with {found.baseline}"
        console.print(text, style="yellow", soft_wrap=True)


def print_differences(found: Sequence[Difference], baseline: str, console: Console) -> None:
    kinds = sorted({d.by for d in found}, reverse=True)
    how = " or ".join({"seeds": "by seed", "problems": "by problem"}[by] for by in kinds)
    console.print(f"\ndifference from {baseline}, paired {how}")
    shown = RichTable("task", "metric", "arm", box=None, pad_edge=False)
    for name in ("difference", "p", "p (Holm)", "p (flip)"):
        shown.add_column(name, justify="right")
    for d in found:
        ps = map(p_text, (d.p, d.p_holm, d.p_flip))
        shown.add_row(d.task, d.metric, d.arm, str(d.difference), *ps)
    console.print(shown)
    said = (
        f"difference: the arm minus {baseline}, ± half its 95% t-interval; p of the paired t-test "
        "(- where all differences are one number other than 0), Holm-corrected over the arms "
        "and tasks of a metric, not over metrics; p (flip) of the sign-flip test"
    )
    seeds = [d.difference.n for d in found if d.by == "seeds"]
    if seeds:
        bound = smallest_permutation_p(min(seeds))
        said += f", which is exact and with {min(seeds)} seeds cannot go below {bound:.3g}"
    console.print(said, soft_wrap=True)
    if "problems" in kinds:
        console.print(
            "one seed in common: paired by problem, the test is of these two trained models and "
            "says nothing of other seeds",
            soft_wrap=True,
        )
