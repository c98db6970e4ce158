"""Names of evaluation sets."""

import pytest
from lab_llm.datasets.set_names import MAX_BYTES, check_set_names
from labrun.errors import LabError

PATHS = ["../../../../../../escaped/x", "a/", "a//b", "/abs", "a\\b", "..\\x", "C:x"]
UNSEEN = ["a\u202eb", "a\u200bb", "a\u2028", "a\ufeff", "\ud800", "a\u2215b", "a\uff0fb"]
"""A mark that turns the text round, no-width and line marks, half a character, other slashes."""


def refusal(*names, **options):
    with pytest.raises(LabError) as caught:
        check_set_names(names, key="dataset.evaluation", **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("dataset.evaluation: ")
    return str(caught.value)


def test_letters_of_any_alphabet_digits_and_some_signs_are_allowed():
    names = (
        "amc23",
        "math-500",
        "AIME 2024",
        "数学",
        "गणित",
        "é",
        "e\u0301x",
        "a+b=c",
        "v1.2",
        "_x",
    )
    check_set_names((*names, "a" * MAX_BYTES), key="dataset.evaluation")


@pytest.mark.parametrize(
    "name",
    [*PATHS, *"*?<>|\"',:;@%~()[]{}&!#$`", "\n", "\t", "\x00", "\x1b[31m", *UNSEEN, "🙂"],
)
def test_characters_of_paths_and_unseen_ones_are_refused(name):
    assert "in it; allowed: letters, digits, _ - . + = and single spaces inside" in refusal(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "is empty"),
        (" ", "has a space too many"),
        (" a", "has a space too many"),
        ("a ", "has a space too many"),
        ("a  b", "has a space too many"),
        (".", "begins or ends with a dot"),
        ("..", "begins or ends with a dot"),
        (".hidden", "begins or ends with a dot"),
        ("a.", "begins or ends with a dot"),
        ("-rf", "begins with a dash"),
        ("CON", "is reserved by file systems"),
        ("nul.x", "is reserved by file systems"),
        ("Lpt1", "is reserved by file systems"),
        ("a" * 300, f"has 300 bytes, allowed: {MAX_BYTES}"),
        ("数" * 50, f"has 150 bytes, allowed: {MAX_BYTES}"),
    ],
)
def test_names_that_no_file_should_have_are_refused(name, message):
    assert message in refusal(name)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Math", "math"),
        ("é", "e\u0301"),
        ("\uff21\uff22", "ab"),
        ("STRASSE", "straße"),
        ("ﬁt", "fit"),
    ],
)
def test_names_that_a_file_system_takes_for_one_are_refused(one, other):
    assert f"the sets {one!r} and {other!r} would share a file" in refusal(one, "x", other)


def test_a_name_that_stands_for_something_else_is_refused():
    assert "'train' names something else here; rename" in refusal("train", taken=("train",))
