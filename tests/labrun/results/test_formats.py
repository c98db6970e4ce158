"""The table in other formats: what is escaped, what stands where."""

import csv
import io
import json
import math

import pytest
from labrun.results.comparison import comparison_of
from labrun.results.formats import latex_text, markdown_text, to_json, to_latex, to_markdown

ODD = r"a&b_%$x|#{c}~^\<d>*"


@pytest.fixture
def compared(make_run, event):
    """An odd arm at .6 and .75 against `plain` at .5 and .625, and a failed run."""
    runs = []
    for seed, value in enumerate((0.5, 0.625)):
        runs.append(make_run(event.score(3, value), seed=seed))
        runs.append(make_run(event.score(3, value + 0.1 + seed / 40), seed=seed, method=ODD))
    failed = make_run(event.score(1, 0.1), seed=2, state="failed")
    return comparison_of([*runs, failed], baseline="plain"), failed


def test_latex_prints_every_letter():
    assert latex_text(ODD) == (
        r"a\&b\_\%\$x\textbar{}\#\{c\}\textasciitilde{}\textasciicircum{}\textbackslash{}"
        r"\textless{}d\textgreater{}*"
    )
    assert latex_text("0.500 ± 0.1\nnext") == r"0.500 $\pm$ 0.1 next"


def test_markdown_shows_every_letter_and_keeps_its_columns():
    assert markdown_text("a|b_c*d\ne`f<g") == r"a\|b\_c\*d e\`f\<g"


def test_latex_is_a_tabular_of_booktabs_with_its_notes(compared):
    found, _ = compared
    lines = to_latex(found.sheet).splitlines()
    assert lines[1] == r"\begin{tabular}{llrr}"
    assert lines[2:5:2] == [r"\toprule", r"\midrule"]
    name = latex_text(ODD)
    assert lines[3] == rf"task & metric & plain & {name} \\"
    assert r" & \textbf{0.675 $\pm$ " in lines[5]
    assert lines[6:8] == [r"\bottomrule", r"\end{tabular}"]
    assert lines[-1].startswith(
        r"{\footnotesize Mean over 2 seeds. $\pm$: half the 95\% t-interval"
    )
    assert lines[-1].count("{") == lines[-1].count("}")


def test_markdown_has_as_many_cells_in_each_row(compared):
    found, _ = compared
    lines = to_markdown(found.sheet).splitlines()
    cells = [line.replace(r"\|", "").count("|") for line in lines[:3]]
    assert cells == [5, 5, 5]
    assert "**0.675 ± " in lines[2]
    assert lines[0].startswith("| task | metric | plain | ")
    assert lines[4] == "- mean over 2 seeds"


def test_csv_reads_back(compared):
    found, _ = compared
    rows = list(csv.DictReader(io.StringIO(found.table.to_csv())))
    assert [row["arm"] for row in rows] == ["plain", ODD]
    assert float(rows[1]["mean"]) == pytest.approx(0.6750)


def test_json_holds_numbers_tests_runs_and_what_is_left_out(compared):
    found, failed = compared
    said = json.loads(to_json(found))
    plain, odd = said["rows"]
    assert odd["mean"] == pytest.approx(0.675)
    assert (odd["num_seeds"], odd["interval"], odd["is_best"]) == (2, "seeds", True)
    assert odd["values"] == pytest.approx([0.6, 0.75])
    assert odd["test"]["difference"] == pytest.approx(0.1125)
    assert odd["test"]["p_sign_flip"] == 0.5
    assert plain["test"] is None
    assert [run["seed"] for run in said["runs"]["plain"]] == [0, 1]
    assert said["left_out"] == {failed.id: "plain: failed"}


def test_json_has_null_for_what_is_not_a_number(make_run, event):
    found = comparison_of([make_run(event.score(3, math.nan))])
    (row,) = json.loads(to_json(found))["rows"]
    assert row["mean"] is None
    assert row["values"] == [None]
