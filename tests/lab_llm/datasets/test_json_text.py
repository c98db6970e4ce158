"""JSON with exact numbers and without ambiguity."""

import time
from decimal import Decimal

import pytest
from lab_llm.datasets.json_text import MAX_DEPTH, UnfitJSONError, parse_json, too_deep


def test_numbers_keep_their_digits():
    text = '{"a": 0.10, "b": 1e16, "c": 12345678901234567890, "d": -0.0, "e": 0e999999999}'
    value = parse_json(text)
    assert {k: str(v) for k, v in value.items()} == {
        "a": "0.10",
        "b": "1E+16",
        "c": "12345678901234567890",
        "d": "-0.0",
        "e": "0",
    }


def test_an_integer_may_have_any_number_of_digits():
    assert parse_json(f'{{"a": {"7" * 5000}}}') == {"a": Decimal("7" * 5000)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("NaN", "holds NaN, which is no number; write null or drop the row"),
        ('{"a": [Infinity]}', "holds Infinity, "),
        ("-Infinity", "holds -Infinity, "),
        ("1e400", "holds the number 1e400, beyond the range of a float; write it as a text"),
        ("-1.5e400", "holds the number -1.5e400, "),
        ("1e-400", "holds the number 1e-400, "),
        ("1e99999999999999999999", "holds the number 1e99999999999999999999, "),
        ('{"a": {"b": 1, "c": 2, "b": 3}}', "has the key 'b' twice in one object"),
        ('["\\ud800"]', "holds \\ud800, half of a character; mend or drop the row"),
        ('{"\\udc00": 1}', "holds \\udc00, half of a character"),
    ],
)
def test_what_is_no_good_as_data_is_refused(text, message):
    with pytest.raises(UnfitJSONError) as caught:
        parse_json(text)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 900, 100_000])
@pytest.mark.parametrize(("left", "right"), [("[", "]"), ('{"a":', "}")])
def test_deep_nesting_is_refused(depth, left, right):
    for text in (left * depth + "1" + right * depth, left * depth):
        with pytest.raises(UnfitJSONError, match=f"nests more than {MAX_DEPTH} lists and objects"):
            parse_json(text)


def test_brackets_side_by_side_or_in_a_text_are_not_deep():
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert len(parse_json(f"[{', '.join(['[]'] * 1000)}]")) == 1000
    assert parse_json('{"a": "' + '\\"[' * 1000 + '"}')["a"] == '"[' * 1000


def test_depth_is_measured_in_one_pass():
    start = time.process_time()
    assert not too_deep('"[{' + '\\"' * 500_000)
    assert too_deep('"a"' * 100_000 + "[" * 200)
    assert time.process_time() - start < 2.0
