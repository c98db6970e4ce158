"""A suite's file: what it says, and what is refused, with file and line."""

from pathlib import Path

import pytest
from labrun.config.word_files import texts
from labrun.errors import LabError
from labrun.suites.reading import read
from labrun.suites.suite import Source

WHOLE = """\
question: Is b better?
source: {paper: arXiv 1, table: table 2, of: accuracy, read_from: a reading}
expected: b above a
notes: [ours is smaller]
common: {plugin: example, max_steps: 3}
arms:
  a: method=plain
  b: [method=momentum, max_steps=4]
seeds: [0, 1]
rows:
  - {task: held_out, metric: mse, unit: percent, published: {a: 15.0, b: 22.5}}
  - {task: {x: 2, y: 1}, metric: mse, change: true, name: mixed}
scales:
  tiny:
    toy: it is small
    overrides: scale=short
  paper:
    overrides: [scale=long]
    needs: {dataset.held_out_file: the file}
    seeds: 0,1,2
    axes:
      noise: {low: dataset.noise=0.1, high: dataset.noise=0.5}
    leave_out: [{arm: b, noise: high}]
    rows:
      - {task: held_out, metric: mse, at: {noise: low}, published: {b: -1}}
"""


def suite(tmp_path: Path, text: str):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return read(path)


def test_a_suite_holds_what_its_file_says(tmp_path):
    found = suite(tmp_path, WHOLE)
    assert (found.name, found.question, found.expected) == ("mine", "Is b better?", "b above a")
    assert found.source == Source("arXiv 1", "table 2", "accuracy", "a reading")
    assert found.notes == ("ours is smaller",)
    tiny, paper = found.scales["tiny"], found.scales["paper"]
    assert (tiny.toy, paper.toy) == ("it is small", "")
    assert texts(tiny.overrides) == ["plugin=example", "max_steps=3", "scale=short"]
    assert {label: texts(words) for label, words in tiny.arms.items()} == {
        "a": ["method=plain"],
        "b": ["method=momentum", "max_steps=4"],
    }
    assert (tiny.seeds, paper.seeds) == ("0,1", "0,1,2")
    first, mixed = tiny.rows
    assert (first.name, first.unit, first.published) == (
        "held_out mse",
        "percent",
        {"a": 15.0, "b": 22.5},
    )
    assert (mixed.name, mixed.tasks, mixed.is_change) == ("mixed", {"x": 2.0, "y": 1.0}, True)


def test_a_scale_s_own_parts_take_the_place_of_the_suite_s(tmp_path):
    paper = suite(tmp_path, WHOLE).scales["paper"]
    (row,) = paper.rows
    assert (row.name, row.at, row.published) == ("held_out mse low", {"noise": "low"}, {"b": -1.0})
    assert [*paper.axes["noise"]] == ["low", "high"]
    assert paper.left_out == ({"arm": "b", "noise": "high"},)
    assert paper.needs == {"dataset.held_out_file": "the file"}


def test_a_suite_needs_no_more_than_a_question_and_arms(tmp_path):
    found = suite(tmp_path, "question: q\narms: {a: method=plain, b: }\n")
    (scale,) = found.scales.values()
    assert (scale.name, scale.seeds, scale.rows, scale.toy) == ("own", "0", (), "")
    assert scale.arms["b"] == ()


REFUSED = [
    ("qestion: q\n", 1, "the suite has no key qestion; did you mean question? allowed: question, "),
    ("question: q\n", 1, "the suite has no arms; write arms: ..."),
    ("arms: {a: x=1}\n", 1, "the suite has no question; write question: ..."),
    ("question: q\narms: {}\n", 2, "arms is empty; write LABEL: KEY=VALUE lines"),
    ("question: q\narms:\n  a: nonsense\n", 3, "cannot read 'nonsense', expected key=value"),
    ("question: q\narms:\n  a: x=1\n  a: x=2\n", 4, "arms has the key a twice; keep one"),
    ("question: [q]\narms: {a: x=1}\n", 1, "question is a list; write a text"),
    (
        "question: q\narms: {a: x=1}\nrows:\n  - {task: t, metrik: m}\n",
        4,
        "a row has no key metrik; did you mean metric? allowed: name, task, metric",
    ),
    ("question: q\narms: {a: x=1}\nrows:\n  - {task: t}\n", 4, "a row has no metric"),
    (
        "question: q\narms: {a: x=1}\nrows: [{task: t, metric: m, unit: per cent}]\n",
        3,
        "unit=per cent: did you mean percent? allowed: fraction, percent, tokens, count, return, "
        "score",
    ),
    (
        "question: q\narms: {a: x=1}\nrows: [{task: t, metric: m}, {task: t, metric: m}]\n",
        3,
        "two rows are called 't m'; give each a name",
    ),
    (
        "question: q\narms: {a: x=1}\nrows: [{task: t, metric: m, at: {size: big}}]\n",
        3,
        "at has no key size; allowed: none",
    ),
    (
        "question: q\narms: {a: x=1}\nrows: [{task: {t: 0}, metric: m}]\n",
        3,
        "task: weights are above 0",
    ),
    (
        "question: q\narms: {a: x=1}\nrows: [{task: t, metric: m, published: {a: 1}}]\n",
        3,
        "published numbers need a source: paper, table, and what they are of",
    ),
    (
        "question: q\nsource: {paper: p, table: t}\narms: {a: x=1}\n",
        2,
        "source has no of; write of: ...",
    ),
    (
        "question: q\narms: {a: x=1}\nscales:\n  small:\n    seed: 1\n",
        5,
        "scales.small has no key seed; did you mean seeds? allowed: toy, overrides, needs",
    ),
    (
        "question: q\narms: {a: x=1}\naxes: {arm: {b: y=1}}\n",
        3,
        "an axis is not called arm; the arms are one by themselves",
    ),
]
SOURCED = "question: q\nsource: {paper: p, table: t, of: o}\narms: {a: x=1}\n"
SOURCED_REFUSED = [
    (
        "scales:\n  tiny: {overrides: x=2}\n",
        5,
        "only the scale `paper` stands beside published numbers as it is; say under "
        "scales.tiny.toy what makes this one a toy",
    ),
    ("scales:\n  paper: {toy: no}\n", 5, "scales.paper is the published size and no toy"),
    (
        "rows: [{task: t, metric: m, published: {b: 1}}]\n",
        4,
        "published has no key b; allowed: a",
    ),
    (
        "rows: [{task: t, metric: m, published: {a: high}}]\n",
        4,
        "published.a=high: no number",
    ),
    (
        "rows: [{task: t, metric: m, published: {a: .nan}}]\n",
        4,
        "published.a=.nan: no number",
    ),
    ("rows: [{task: t, metric: m, change: yes}]\n", 4, "change=yes: allowed: true, false"),
]


@pytest.mark.parametrize(
    ("text", "line", "expected"), [*REFUSED, *((SOURCED + t, n, e) for t, n, e in SOURCED_REFUSED)]
)
def test_a_mistake_is_named_with_its_file_and_line(tmp_path, text, line, expected):
    with pytest.raises(LabError) as error:
        suite(tmp_path, text)
    said = str(error.value)
    assert said.startswith(expected)
    assert said.endswith(f" ({tmp_path / 'mine.yaml'}, line {line})")
    assert "\n" not in said
