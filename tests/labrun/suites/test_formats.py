"""A suite's table for papers, pages and programs."""

import csv
import io
import json
import re

import pytest
from labrun.suites.formats import formatted
from labrun.suites.suite import Row

ROW = Row("x & y", {"x": 1.0}, "win_rate", "percent", published={"a_1": 21.2, "b": 47.9})
SEEDS = [{"x": 0.25, "y": 0.25}, {"x": 0.75, "y": 0.25}]


@pytest.fixture
def found(result):
    return result({"a_1": SEEDS, "b": [SEEDS[0]]}, rows=[ROW])


def test_markdown_has_published_beside_ours(found):
    lines = formatted(found, "md").splitlines()
    at = lines.index("| row | arm | unit | published | ours (paper) | seeds |")
    # a_1: 25 and 75, s = 25 * sqrt(2), t(1) = 12.706, half width 12.706 * 25 = 317.7
    assert lines[at + 2] == "| x & y | a\\_1 | percent | 21.2 | 50.0 ± 317.7 | 2 of 2 |".replace(
        "&", "\\&"
    )
    assert lines[at + 3] == "|  | b | percent | 47.9 | 25.0 | 1 of 1 |"
    assert "- ours: scale=paper, the published size" in lines
    assert "| win\\_rate | b | 2 | 1 | 0.250 | 0.250 | 0.375 |" in lines
    assert "- runs: 3 of 3 done" in lines


def test_latex_is_one_table_a_head_with_equally_many_columns(found):
    text = formatted(found, "latex")
    assert r"x \& y & a\_1 & percent & 21.2 & 50.0 $\pm$ 317.7 & 2 of 2 \\" in text
    assert r"{\footnotesize Suite mine: Is b\_1 better? Published: arXiv 1, table 2." in text
    for kinds, body in re.findall(r"begin\{tabular\}\{([lr]+)\}(.*?)\\end", text, re.DOTALL):
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(kinds)}


def test_a_toy_is_called_one_in_every_format(result):
    found = result({"a_1": SEEDS}, rows=[ROW], toy="64 points")
    for kind in ("md", "latex"):
        assert "TOY (tiny)" in formatted(found, kind)
        assert "A TOY RESULT, no reproduction: 64 points" in formatted(found, kind)
    (row,) = csv.DictReader(io.StringIO(formatted(found, "csv")))
    assert (row["arm"], row["published"], row["ours"], row["toy"]) == ("a_1", "21.2", "50.0", "yes")
    said = json.loads(formatted(found, "json"))
    assert (said["toy"], said["rows"][0]["ours"]["mean"]) == ("64 points", 50.0)


def test_json_holds_null_for_what_is_not_there(found):
    said = json.loads(formatted(found, "json"))
    assert [row["ours"]["low"] for row in said["rows"]] == [pytest.approx(-267.7, abs=0.1), None]
    assert said["over_tasks"][1]["better_than_baseline"] == {
        "value": 0.375,
        "low": None,
        "high": None,
    }
    assert set(said["runs"].values()) == {"done"}
    assert said["source"]["paper"] == "arXiv 1"
