"""The report of a suite: its question, published beside ours, arms under the suite's names."""

import re
from dataclasses import replace

import pytest
from labrun.errors import LabError
from labrun.results.page.making import Asked
from labrun.suites import page
from labrun.suites.suite import Row
from rich.console import Console

ROW = Row("x won", {"x": 1.0}, "win_rate", "percent", published={"a": 21.2})
SEEDS = [{"x": 0.25, "y": 0.5}, {"x": 0.75, "y": 0.5}]


@pytest.fixture
def text_of(tmp_path):
    """`text_of(result, ...)`: the text of the suite's page, without its tags."""

    def made(found, **asked):
        path = page.make(found, tmp_path, Console(quiet=True), asked=Asked(**asked))
        assert path.parent.name == "g"
        body = path.read_text().partition("<body")[2]
        return " ".join(re.sub(r"<[^>]+>", " ", body).split())

    return made


def test_published_stands_beside_ours_under_the_suite_s_question(result, text_of):
    text = text_of(result({"a": SEEDS, "b": [SEEDS[0]]}, rows=[ROW]))
    assert "suite mine, ours (paper)" in text
    assert "Is b_1 better?" in text
    assert "published: arXiv 1, table 2. percent of won episodes." in text
    # a: 25 and 75, s = 25 * sqrt(2), t(1) = 12.706, half width 317.7
    assert "x won a percent 21.2 50.0 ± 317.7 2 of 2 b percent - 25.0 1 of 1" in text
    assert "runs: 3 of 3 done" in text


def test_where_nothing_is_published_the_table_is_not_said_to_be(result, text_of):
    found = result({"a": SEEDS}, rows=[replace(ROW, published={})])
    text = text_of(replace(found, suite=replace(found.suite, source=None)))
    assert text.count("The suite&#39;s table") == 2, "the heading and the link to it"
    assert "Published beside ours" not in text


def test_arms_without_a_done_run_are_named(result, text_of):
    text = text_of(result({"a": SEEDS, "b": [SEEDS[0]]}, rows=[ROW], missing=[("b", "", 0)]))
    assert "runs: 2 of 3 done, 1 failed no run of these arms is done: b" in text


def test_a_toy_is_called_one_in_title_and_table(result, text_of):
    text = text_of(result({"a": SEEDS}, rows=[ROW], toy="64 points"))
    assert "suite mine, TOY (tiny)" in text
    assert "A TOY RESULT, no reproduction: 64 points" in text
    assert "row arm unit published TOY (tiny) seeds" in text


def test_arms_have_the_suite_s_names_and_order(result, text_of):
    found = result({"b": SEEDS, "a": SEEDS}, labels=["hard", "easy"])
    assert list(page.labels_of(found).values()) == [
        name for name in ("b hard", "b easy", "a hard", "a easy") for _ in SEEDS
    ]
    assert "task metric b hard b easy a hard a easy" in text_of(found)


def test_the_labels_of_axes_are_put_together(result, text_of):
    text = text_of(result({"a": SEEDS, "b": SEEDS}, labels=["easy", "hard"]))
    assert (
        "Over all tasks and labels over 4 tasks (x easy, y easy, x hard, y hard): win_rate" in text
    )


def test_a_suite_without_runs_says_how_to_make_them(result, text_of):
    found = result({"a": []})
    with pytest.raises(LabError, match="no run of suite mine at scale=paper is there; `lab bench"):
        text_of(found)
