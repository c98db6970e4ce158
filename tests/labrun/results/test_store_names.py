import itertools

import pytest
from labrun.results.store.names import LONGEST, name_of, name_tags, stored_name, stored_value
from mlflow.utils.validation import _validate_metric, _validate_param, _validate_tag

LONG = [
    "x" * 300,
    "x" * 299 + "y",
    "/" * 300,
    "a" * 249 + "@",
    "é" * 251,
    "+" * 5000,
]
ODD = [
    *("", "/abs", "a//b", "..", ".", "a/..", "a/./b", "./a", "a/", "/", "//", "...", "..a"),
    *("a+b", "a_b", "a@b", "a(b)", "a,b", "a b", " a ", "100%", "a\nb", "a\n", "\x00", "\ud800"),
    *("Größe", "精度", "🙂", "a\\b", "a'b", 'a"b', "a`b", "_x2b_", "a_x2b_b", "_x_", "_at_4"),
    *("pass@4", "pass_at_4", "_xffffff_", f"_h{'0' * 32}_", f"a_h{'0' * 32}_", "a:b", "#"),
]


@pytest.mark.parametrize("name", [*ODD, *LONG])
def test_every_name_is_stored_and_read_back(name):
    stored = stored_name(name)
    _validate_metric(stored, 1.0, 0, 0)
    _validate_param(stored, "v")
    _validate_tag(stored, "v")
    tags = name_tags([name])
    for key, value in tags.items():
        _validate_tag(key, value)
    assert name_of(stored, tags) == name


def test_no_two_names_are_stored_alike():
    assert len({stored_name(name) for name in (*ODD, *LONG)}) == len({*ODD, *LONG})
    short = [
        "".join(letters) for n in range(6) for letters in itertools.product("_at@x2/.", repeat=n)
    ]
    assert len({stored_name(name) for name in short}) == len(short)


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("in_domain/accuracy", "in_domain/accuracy"),
        ("pass@4", "pass_at_4"),
        ("pass@k", "pass_at_k"),
        ("test/avg@4", "test/avg_at_4"),
        ("trainer.nan_at_step", "trainer.nan_at_step"),
        ("time/rollout: s - x.y", "time/rollout: s - x.y"),
        ("Größe", "Größe"),
        ("a+b", "a_x2b_b"),
        ("a_b", "a_b"),
        ("/abs", "_x2f_abs"),
        ("a//b", "a_x2f_/b"),
        ("..", "_x2e_."),
        ("", "_x_"),
    ],
)
def test_names_read_as_before_where_they_can(name, stored):
    assert stored_name(name) == stored


def test_a_long_name_keeps_its_beginning_and_its_whole_in_a_tag():
    stored = stored_name("loss/" + "x" * 295)
    assert len(stored) == LONGEST
    assert stored.startswith("loss/xxx")
    assert list(name_tags(["loss", "loss/" + "x" * 295]).values()) == ["loss/" + "x" * 295]


def test_a_long_value_is_told_from_another_of_the_same_beginning():
    one, other = stored_value("x" * 6001), stored_value("x" * 6000 + "y")
    assert len(one) == len(other) == 500
    assert one != other
    assert stored_value("x" * 500) == "x" * 500
    assert stored_value(None) == "None"
    assert stored_value("a\x00\ud800") == "a\\x00\\ud800"
