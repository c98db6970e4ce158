"""LaTeX tables are whole: every row has its columns, every sign is escaped, pdflatex takes them."""

import re
import shutil
import subprocess

import pytest
from labrun.results import formats
from labrun.results.comparison import comparison_of

NASTY = r"a_b & 50% #1 $x^2$ ~{y}\z <w> |v| “quoted” …"
DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs}
\usepackage[T1]{fontenc}
\begin{document}
%s
\end{document}
"""
ALLOWED = re.compile(
    r"\\(?:begin\{tabular\}\{[lr]+\}|end\{tabular\}|toprule|midrule|bottomrule|addlinespace|par"
    r"|smallskip|footnotesize|textbf|rlap|textsuperscript|usepackage|pm|text[a-z]+\{\}"
    r"|shortstack\[r\]|dots\{\}|[&%$#_{}\\])"
)


@pytest.fixture
def found(make_run, event):
    """A comparison whose arms, tasks and metrics hold every sign that LaTeX reads as its own."""
    runs = [
        make_run(
            event.score(3, value, "accuracy", "first & last"),
            event.score(3, value / 2, "accuracy", NASTY),
            event.score(3, 1e300 * value, "return_%", "first & last"),
            seed=seed,
            method=method,
        )
        for method, values in ((NASTY, (0.5, 0.6, 0.7)), ("plain", (0.1, 0.2001, 0.2999)))
        for seed, value in enumerate(values)
    ]
    return comparison_of(runs, baseline="plain")


def test_every_row_has_as_many_columns_as_the_head(found):
    text = formats.to_latex(found.sheet)
    assert len(tables(text)) == 1
    for columns, rows in tables(text):
        assert [len(row) for row in rows] == [columns] * len(rows)
        assert len(rows) == 1 + len(found.sheet.rows) + len(found.sheet.summary)


def test_nothing_of_a_text_is_read_by_latex(found):
    text = formats.to_latex(found.sheet).partition("\n")[2]  # without the line of packages
    left = re.sub(r"\$\\pm\$", "", ALLOWED.sub("", text.replace(r"$\pm$", "")))
    for sign in '\\%$#_~^<>|"':
        assert sign not in left, sign
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def test_pdflatex_makes_a_page_of_it(found, latex, tmp_path):
    log = latex(formats.to_latex(found.sheet))
    assert "Output written on table.pdf (1 page" in log
    assert "Missing character" not in log


def test_a_table_of_texts_is_whole_too(latex):
    rows = [["row", NASTY, "n"], ["first", "a", "1"], ["", "b", "2"], [NASTY, "c", "3"]]
    lines = formats.latex_rows(rows, first_number=2)
    ((columns, found),) = tables("\n".join(lines))
    assert columns == 3
    assert [len(row) for row in found] == [3] * 4
    assert lines.count(r"\addlinespace") == 1
    assert "Output written" in latex("\n".join(lines))


def tables(text):
    """(columns, rows) of each tabular, a row as its cells."""
    found = re.findall(r"\\begin\{tabular\}\{([lr]+)\}(.*?)\\end\{tabular\}", text, re.DOTALL)
    return [
        (len(kinds), [re.split(r"(?<!\\)&", line) for line in body.splitlines() if "&" in line])
        for kinds, body in found
    ]


@pytest.fixture
def latex(tmp_path):
    """`latex(text)`: what pdflatex says of a page with this text; skipped where there is none."""
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed; Debian has it in texlive-latex-recommended")

    def made(text: str) -> str:
        (tmp_path / "table.tex").write_text(DOCUMENT % text)
        done = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=120,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    return made


def test_the_words_of_a_label_stand_above_each_other():
    assert formats._stacked("grpo") == "grpo"
    assert formats._stacked("grpo lr=1 a_b=2") == r"\shortstack[r]{grpo \\ lr=1 \\ a\_b=2}"
