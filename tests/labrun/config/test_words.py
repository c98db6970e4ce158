import shlex

import pytest
from labrun.config.words import (
    MAX_RUNS,
    Word,
    command_line,
    copyable,
    expand,
    quoted,
    single,
    split,
)
from labrun.errors import LabError, shown

EMOJI = "\N{ROCKET}"


def refused(word: str) -> str:
    with pytest.raises(LabError) as error:
        single(word)
    text = str(error.value)
    assert text.isprintable()
    return text


@pytest.mark.parametrize(
    ("word", "key", "text"),
    [
        ("model.name=epoch=6.ckpt", "model.name", "epoch=6.ckpt"),
        ("a==", "a", "="),
        ("a=", "a", ""),
        ("a= b ", "a", "b"),
        ("dataset.evaluation.数学=c.jsonl", "dataset.evaluation.数学", "c.jsonl"),
        ("a=line\nline", "a", "line\nline"),
    ],
)
def test_the_first_equal_sign_ends_the_key(word, key, text):
    assert Word.of(word) == Word(key, text)


@pytest.mark.parametrize("word", ["", "=", "=value", "rlrt", "--seed", "x" * 1_000_000])
def test_a_word_without_key_and_value_is_refused(word):
    assert refused(word).startswith("cannot read '")
    assert refused(word).endswith("', expected key=value")
    assert len(refused(word)) < 300


@pytest.mark.parametrize("word", ["a=/m\udcff", "\udce9=1", "a=\0", "+a\udcff=1", "\udcff"])
def test_bytes_that_are_no_text_are_refused_in_one_line(word):
    assert refused(word)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a,b", ["a", "b"]),
        ("a , b", ["a", "b"]),
        ("'a,b',c", ["'a,b'", "c"]),
        ("/bob's,/ann's", ["/bob's", "/ann's"]),
        ("/a=1,/b=2", ["/a=1", "/b=2"]),
        ("{a,b}.x,[c,d]", ["{a,b}.x", "[c,d]"]),
        ("a[1,b]2", ["a[1,b]2"]),
        ("['x]',y]", ["['x]',y]"]),
        (r"a\,b", [r"a\,b"]),
        (r"a\\,b", [r"a\\", "b"]),
        (r"'it\'s, here',b", [r"'it\'s, here'", "b"]),
        ("${by:${a},{x: 1, y: 2}},b", ["${by:${a},{x: 1, y: 2}}", "b"]),
        ("", [""]),
        ("a[1,b", None),
        ("a]1,b", None),
        ("(a],b", None),
    ],
)
def test_commas_split_outside_of_quotes_brackets_and_escapes(text, parts):
    assert split(text, ",") == parts


@pytest.mark.parametrize(
    ("words", "points"),
    [
        (["model.name=/a=1,/b=2"], [["model.name=/a=1"], ["model.name=/b=2"]]),
        (["g=1.10,007"], [["g=1.10"], ["g=007"]]),
        (["g='a,b',c"], [["g='a,b'"], ["g=c"]]),
        (["p=[a=1,b],[c]"], [["p=[a=1,b]"], ["p=[c]"]]),
        (["p=range (km)"], [["p=range (km)"]]),
        (["p=m(1)"], [["p=m(1)"]]),
        (["p=range(0,4,2)"], [["p=0"], ["p=2"]]),
        (["数学=a,b"], [["数学=a"], ["数学=b"]]),
    ],
)
def test_a_sweep_keeps_its_values_as_they_are_typed(words, points):
    assert expand(words) == points


@pytest.mark.parametrize(
    ("word", "cause"),
    [
        ("a=0,,1", "a=0,,1: an empty value between commas; write '' or a='0,,1'"),
        ("a=0,", "a=0,: an empty value between commas; write '' or a='0,'"),
        ("a=(x,y", "a=(x,y: its brackets and commas have two readings; for one value write a='(x"),
        ("a=interval(0,1)", "a=interval(0,1): an interval has no list of values; write key=a,b,c"),
        ("a=glob(*)", "a=glob(*): write the values out, key=a,b,c"),
        ("a=range(0,1000000000)", f"this sweep holds more than {MAX_RUNS} runs; make it smaller"),
        ("a=range(3,3)", "a=range(3,3): holds no value; write key=a,b,c"),
        (f"a=choice({'x,' * 5_000}x)", "a=choice(x,x,x,"),
    ],
)
def test_a_sweep_without_a_plain_list_of_values_is_refused(word, cause):
    with pytest.raises(LabError) as error:
        expand([word])
    assert str(error.value).startswith(cause)


def test_a_sweep_of_too_many_runs_is_refused():
    with pytest.raises(LabError, match="this sweep holds more than 10000 runs"):
        expand([f"a{i}={','.join('0123456789')}" for i in range(5)])


@pytest.mark.parametrize("text", ["a,b", "Solve it, then box it.", "choice(a,b)", "range(0,3)"])
def test_a_sweep_without_m_is_refused_with_the_word_quoted(text):
    assert refused(f"a={text}") == (
        f"a={text}: a value with commas is a sweep: add -m "
        f"(or quote it: a='{text}', in a shell \"a='{text}'\")"
    )


@pytest.mark.parametrize(
    "text",
    ["", "a b", "bob's", "'", "\\", "a\\", "\\'", "a\\\\'b\\", r"\\srv\share", '"', f"{EMOJI}#"],
)
def test_a_quoted_text_is_read_back_as_it_was(text):
    assert split(f"{quoted(text)},x", ",") == [quoted(text), "x"]
    assert single(f"a={quoted(text)}").text == quoted(text)


@pytest.mark.parametrize(
    "word",
    ["seed=1", "evaluator=[a,b]", "a='b c'", "a=bob's", "a=$x", "a=`x`", "a=\\", "a=!x", 'a="'],
)
def test_a_printed_word_is_what_a_shell_takes_back(word):
    assert shlex.split(command_line(["plugin=p", word])) == ["plugin=p", word]


def test_control_characters_are_printed_as_escapes_of_a_shell():
    assert command_line(["a=x\ny", "b='\t'"]) == r"$'a=x\ny' $'b=\'\t\''"


def test_a_word_for_copying_shows_its_quotes_inside_and_outside_of_a_shell():
    assert copyable(Word("a", "b,c")) == "a='b,c', in a shell \"a='b,c'\""
    assert copyable(Word("a", "x" * 300)) == "a='...'"


def test_a_long_or_many_lined_text_is_shown_in_one_short_line():
    assert shown("a\nb\udcff") == "a\\nb\\udcff"
    assert shown("0123456789", limit=6) == "012...789 (10 characters)"
