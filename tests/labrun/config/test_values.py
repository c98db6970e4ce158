from typing import Any, Literal

import pytest
from labrun.config.values import read
from labrun.errors import LabError
from labrun.experiment import ResourcesConfig

EMOJI = "\N{ROCKET}"


def refused(text: str, hint: Any) -> str:
    with pytest.raises(LabError) as error:
        read(text, hint, key="k")
    assert str(error.value).isprintable()
    return str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "epoch=6.ckpt",
        "/ckpt/epoch=6-step=10/model",
        "/ckpt/a#1",
        "/ckpt/模型-é",
        EMOJI,
        r"\\srv\share\m",
        r"C:\a\b",
        r"C:\new\\x",
        "~/m",
        "~root/m",
        "/data/part-[0-9].parquet",
        "/data/{a,b}.parquet",
        "[ab].jsonl",
        "[a]/[b]",
        "/ckpt/m(1)",
        "/ckpt/m[1]",
        "/ckpt/{m}",
        "{prompt}",
        "{prompt} ref {solution}",
        "/ckpt/bob's",
        "/ckpt/a!b",
        "/ckpt/a&b",
        "/ckpt/a;b",
        "/ckpt/a<b>c",
        "a^b`c",
        "/a//b",
        "http://host:80/x?y=1&z=2#f",
        r"Put it in \boxed{}.",
        r"$\frac{1}{2}$ of \$5",
        "Frage (de)",
        "Say: 'yes'.",
        "Lösung.final",
        "1e3",
        "1_000",
        "true",
        "False",
        "null",
        "1.10",
        "007",
        "1234567e8",
        "-0",
        "+1",
        "nan",
        "a  b",
        "a\tb\nc",
        "=x",
        "[",
        "[" * 10_000,
        "9" * 5_000,
        "${a.b}",
        "",
    ],
)
def test_a_text_key_takes_the_text_as_it_is_typed(text):
    assert read(text, str, key="k") == text
    assert read(text, str | tuple[str, ...], key="k") == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'a,b'", "a,b"),
        ('"a b"', "a b"),
        ("''", ""),
        (r"'bob\'s'", "bob's"),
        (r"'C:\a\\'", "C:\\a\\"),
        (r"'\\srv'", r"\\srv"),
        ("'null'", "null"),
        (r"epoch\=6", "epoch=6"),
        (r"a\,b", "a,b"),
    ],
)
def test_quotes_and_the_escapes_of_comma_and_equal_sign_are_taken_off(text, value):
    assert read(text, str, key="k") == value


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (
            "'tis",
            r"k='tis: a quote opens the value and does not close it; for one value write k='\'",
        ),
        ("'a' b", "k='a' b: a quote opens the value and does not close it; for one value write k="),
        (r"m\(1\)", r"k=m\(1\): \( has two readings; write k='m(1)', in a shell "),
        (r"my\ dir", r"k=my\ dir: \  has two readings; write k='my dir', in a shell "),
        ("[a,b]", "k=[a,b]: the key takes one text; for this text write k='[a,b]', in a shell "),
        ("{a: b}", "k={a: b}: the key takes one text; for this text write k='{a: b}', in a shell "),
    ],
)
def test_a_text_with_two_readings_is_refused_with_the_word_quoted(text, cause):
    assert refused(text, str).startswith(cause)


def test_a_list_where_a_mapping_is_wanted_is_refused():
    text = refused("[a,b]", dict[str, int])
    assert text == "k=[a,b]: a list where {name: value, ...} is wanted"


def test_null_is_none_only_where_the_key_takes_none():
    assert read("null", str | None, key="k") is None
    assert read("'null'", str | None, key="k") == "null"
    assert read("1.10", str | None, key="k") == "1.10"
    assert read("null", Literal["none", "null"], key="k") == "null"
    assert read("null", int, key="k") is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-3", -3),
        ("1_000", 1000),
        ("1.5", 1.5),
        ("1e-3", 0.001),
        (".5", 0.5),
        ("5.", 5.0),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("inf", float("inf")),
        ("fast", "fast"),
        ("007", "007"),
        ("'1'", "1"),
        ("[1, [2, x], {a: 3}]", [1, [2, "x"], {"a": 3}]),
        ("{a: {b: [1]}, c d: x=y}", {"a": {"b": [1]}, "c d": "x=y"}),
        ("{}", {}),
        ("[]", []),
        ("${a.b}", "${a.b}"),
    ],
)
def test_other_keys_read_numbers_constants_lists_and_mappings(text, value):
    read_value = read(text, int, key="k")
    assert read_value == value
    assert type(read_value) is type(value)


def test_items_of_lists_and_mappings_have_their_own_types():
    assert read("[a=1.jsonl,b.jsonl]", str | tuple[str, ...], key="k") == ["a=1.jsonl", "b.jsonl"]
    assert read("[007,1.10,null,'x,y']", tuple[str, ...], key="k") == ["007", "1.10", "null", "x,y"]
    assert read("[1,2]", tuple[int, ...], key="k") == [1, 2]
    assert read("{数学: a=b, b: 1.10}", dict[str, str], key="k") == {"数学": "a=b", "b": "1.10"}
    assert read("{'a:b': C:\\x}", dict[str, str], key="k") == {"a:b": "C:\\x"}
    assert read("{a: 1.10}", dict[str, Any], key="k") == {"a": 1.1}
    assert read("{num_cpus: 2, wait: true}", ResourcesConfig, key="k") == {
        "num_cpus": 2,
        "wait": True,
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [("5", 5), ("007", "007"), ("1_000", "1_000"), ("1.10", "1.10"), ("true", "true"), ("x", "x")],
)
def test_a_key_for_integers_and_text_takes_an_integer_of_which_nothing_is_lost(text, value):
    assert read(text, int | str, key="k") == value


def test_a_key_for_truth_values_and_text_takes_both():
    assert read("true", bool | str, key="k") is True
    assert read("1", bool | str, key="k") == "1"
    assert read("0.5", float | str, key="k") == 0.5


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("[a,,b]", "k=[a,,b]: an empty value between commas; write ''"),
        ("{a: 1, a: 2}", "k={a: 1, a: 2}: a is set twice; keep one"),
        ("[" * 22 + "]" * 22, "k[0][0]"),
        ("[" * 10_000 + "]" * 10_000, "k[0][0]"),
        ("9" * 5_000, "k=999"),
        ("-" + "9" * 1_001, "k=-999"),
    ],
)
def test_broken_deep_and_enormous_values_are_refused_in_one_short_line(text, cause):
    text = refused(text, Any)
    assert text.startswith(cause)
    assert len(text) < 320
