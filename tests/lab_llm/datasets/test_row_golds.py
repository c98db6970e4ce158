"""Golds, prompts and broken rows of files, and what a run is told of its rows."""

import decimal
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lab_llm.datasets.components import RowsDataset
from lab_llm.datasets.config import RowsConfig, RowSet
from lab_llm.grading.verifiers import RULES
from labrun.errors import LabError
from labrun.plan import Setup
from labrun.runs.context import RunContext
from labrun.runs.run_dir import RunDir


def lines(path: Path, *rows: str | bytes) -> str:
    content = [row.encode() if isinstance(row, str) else row for row in rows]
    path.write_bytes(b"".join(row + b"\n" for row in content))
    return str(path)


def column(path: Path, values: pa.Array) -> str:
    prompts = [f"{n}?" for n in range(len(values))]
    pq.write_table(pa.table({"prompt": prompts, "answer": values}), path)
    return str(path)


def golds(path: str, **settings) -> list[str]:
    return [p.answer for p in RowsDataset(RowsConfig(path=path, **settings)).sets.train]


def refusal(path: str, **settings) -> str:
    with pytest.raises(LabError) as caught:
        RowsDataset(RowsConfig(path=path, **settings)).plan(Setup())
    assert "\n" not in str(caught.value)
    return str(caught.value)


NUMBERS = [
    ("0.00001", "0.00001", "\\boxed{10^{-5}}"),
    ("1e16", "10000000000000000", "\\boxed{10^{16}}"),
    ("1e-05", "0.00001", "\\boxed{0.00001}"),
    ("2.5", "2.5", "\\boxed{5/2}"),
    ("3.0", "3", "\\boxed{3}"),
    ("-7", "-7", "\\boxed{-7}"),
]


@pytest.mark.parametrize(("written", "gold", "completion"), NUMBERS)
def test_numbers_are_golds_as_mathematics_in_both_formats(written, gold, completion, tmp_path):
    as_json = lines(tmp_path / "a.jsonl", f'{{"prompt": "?", "answer": {written}}}')
    as_parquet = column(tmp_path / "a.parquet", pa.array([float(written)]))
    for path in (as_json, as_parquet):
        sets = RowsDataset(RowsConfig(path=path)).sets
        assert sets.train[0].answer == gold
        assert sets.verify(sets.train[0], completion) == 1.0


def test_digits_of_json_numbers_stand_as_in_the_file(tmp_path):
    given = ["0.10", "123456789012345678901234567890", "3.14159265358979323846", "9" * 5000]
    path = lines(tmp_path / "a.jsonl", *(f'{{"prompt": "?", "answer": {n}}}' for n in given))
    assert golds(path) == given


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([0.1, 1e-5, 16777216.0], pa.float32()), ["0.1", "0.00001", "16777216"]),
        (pa.array(np.array([0.1, 2.0], np.float16)), ["0.1", "2"]),
        (pa.array([decimal.Decimal("1.50"), decimal.Decimal("3.00")]), ["1.50", "3"]),
        (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
        (pa.array(["1e-05", "x"]).dictionary_encode(), ["1e-05", "x"]),
    ],
)
def test_numbers_of_parquet_have_the_digits_of_their_type(values, expected, tmp_path):
    assert golds(column(tmp_path / "a.parquet", values)) == expected


def test_a_float_inside_a_struct_has_the_digits_of_its_type(tmp_path):
    kind = pa.struct([("gold", pa.struct([("value", pa.float32()), ("unit", pa.string())]))])
    path = column(
        tmp_path / "a.parquet", pa.array([{"gold": {"value": 0.1, "unit": "m"}}, None], kind)
    )
    assert golds(path, answer_column="answer.gold.value", limit=1) == ["0.1"]
    message = refusal(path, answer_column="answer.gold.value")
    assert message == f"{path} row 2: column 'answer.gold.value' leads through null"


def test_a_number_in_a_text_that_holds_json_has_its_digits(tmp_path):
    row = json.dumps({"prompt": "?", "more": '{"answer": 0.000010}'})
    assert golds(lines(tmp_path / "a.jsonl", row), answer_column="more.answer") == ["0.000010"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400"])
def test_numbers_that_are_none_are_refused_by_line(number, tmp_path):
    good = '{"prompt": "?", "answer": 1}'
    path = lines(tmp_path / "a.jsonl", good, "", f'{{"prompt": "?", "answer": {number}}}')
    assert refusal(path).startswith(f"{path} line 3 holds ")
    assert number in refusal(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), None])
@pytest.mark.parametrize("kind", [pa.float64(), pa.float32()])
def test_nan_in_parquet_is_refused_as_null_is(value, kind, tmp_path):
    path = column(tmp_path / "a.parquet", pa.array([1.0, value], kind))
    assert refusal(path).startswith(f"{path} row 2: column 'answer' holds no text or number but ")


@pytest.mark.parametrize("values", [pa.array([True]), pa.array([b"1"]), pa.array([[1]])])
def test_other_types_are_no_answers(values, tmp_path):
    path = column(tmp_path / "a.parquet", values)
    assert "row 1: column 'answer' holds no text or number but " in refusal(path)


def test_a_time_that_python_cannot_hold_is_refused_by_row(tmp_path):
    path = column(tmp_path / "a.parquet", pa.array([0, 2**62], pa.timestamp("us")))
    assert refusal(path).startswith(f"{path} row 2 is damaged: ")


@pytest.mark.parametrize("text", ["", " ", "\\t", "\\u200b", "\\u00a0\\ufeff", "$$", "\\\\boxed{}"])
def test_a_blank_answer_is_refused(text, tmp_path):
    path = lines(tmp_path / "a.jsonl", f'{{"prompt": "?", "answer": "{text}"}}')
    assert refusal(path).startswith(f"{path} line 1: column 'answer' holds no text or number but ")
    path = lines(tmp_path / "b.jsonl", f'{{"prompt": "?", "answer": "1", "why": "{text}"}}')
    assert "column 'why' holds no text" in refusal(path, solution_column="why")


@pytest.mark.parametrize("content", ["", "  ", "\u200b"])
def test_a_blank_question_is_refused(content, tmp_path):
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}]
    for prompt in (chat, json.dumps(chat), content):
        path = lines(tmp_path / "a.jsonl", json.dumps({"prompt": prompt, "answer": "1"}))
        assert refusal(path, instruction="Box it.").startswith(f"{path} line 1, column 'prompt': ")
    path = lines(tmp_path / "a.jsonl", json.dumps({"prompt": "Solve: ", "answer": "1"}))
    assert "the question is blank in 'Solve: '" in refusal(path, drop_prefix="Solve: ")


DEEP = "[" * 100_000 + "]" * 100_000


def test_deep_json_is_refused_in_one_line(tmp_path):
    path = lines(tmp_path / "a.jsonl", f'{{"prompt": "?", "answer": "1", "unused": {DEEP}}}')
    assert refusal(path).startswith(f"{path} line 1 nests more than 100 lists and objects")
    path = lines(tmp_path / "b.jsonl", f'{{"prompt": {DEEP}, "answer": "1"}}')
    assert refusal(path).startswith(f"{path} line 1 nests more than 100 lists and objects")
    path = column(tmp_path / "a.parquet", pa.array([DEEP]))
    message = f"{path} row 1: column 'answer.x' nests more than 100 lists and objects"
    assert refusal(path, answer_column="answer.x").startswith(message)


@pytest.mark.parametrize("prompt", [DEEP, "[" * 5000, "[[1, 2], [3, 4]] is what?", "[NaN]"])
def test_a_prompt_that_begins_with_brackets_is_text(prompt, tmp_path):
    path = lines(tmp_path / "a.jsonl", json.dumps({"prompt": prompt, "answer": "1"}))
    (problem,) = RowsDataset(RowsConfig(path=path)).sets.train
    assert problem.prompt == ({"role": "user", "content": prompt},)


GOOD = '{"prompt": "?", "answer": "1"}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "?", "answer": "1", "answer": "2"}', "has the key 'answer' twice in one "),
        ('[{"prompt": "?"}]', "holds a list; one JSON object a line is read"),
        ("null", "holds null; "),
        ("3.5", "holds a number; "),
        ('"x"', "holds text; "),
        ('{"prompt": "?", "answer"', "is damaged: Expecting ':' delimiter at character 25; one "),
        ('{"prompt": "a\x00b", "answer": "1"}', "is damaged: Invalid control character at at "),
        (b'{"prompt": "\xff", "answer": "1"}', "is damaged: 'utf-8' codec can't decode byte 0xff"),
        (GOOD.encode("utf-16"), "is UTF-16; lines of JSON in UTF-8 are read"),
        (GOOD.encode("utf-16-le"), "is damaged: "),
        (b"\x1f\x8b\x08\x00\x00", "is gzip; "),
        (b"PAR1\x15\x04", "is Parquet; "),
    ],
)
def test_a_line_that_is_no_row_is_named(line, message, tmp_path):
    path = lines(tmp_path / "a.jsonl", GOOD, line)
    assert refusal(path).startswith(f"{path} line 2 {message}")


def test_byte_order_marks_and_windows_line_ends_are_read(tmp_path):
    path = lines(tmp_path / "a.jsonl", b"\xef\xbb\xbf" + GOOD.encode() + b"\r", b"\r", GOOD + "\r")
    assert [p.id for p in RowsDataset(RowsConfig(path=path)).sets.train] == ["a/1", "a/3"]


def test_half_a_character_in_a_text_that_holds_a_chat_is_refused(tmp_path):
    prompt = '[{"role": "user", "content": "\\ud800"}]'
    path = lines(tmp_path / "a.jsonl", json.dumps({"prompt": prompt, "answer": "1"}))
    message = f"{path} line 1, column 'prompt' holds \\ud800, half of a character; "
    assert refusal(path).startswith(message)


def test_only_the_ninth_line_lacks_the_column(tmp_path):
    rows = [json.dumps({"prompt": f"{n}?", "gold": n}) for n in range(1, 9)]
    path = lines(tmp_path / "a.jsonl", *rows, '{"prompt": "9?", "golden": 9}')
    message = f"{path} line 9 has no column 'gold'; did you mean 'golden'? it has: prompt, golden"
    assert refusal(path, answer_column="gold") == message


def test_rows_count_from_1_in_ids_and_errors(tmp_path):
    path = lines(tmp_path / "a.jsonl", "", GOOD, GOOD.replace('"1"', "null"))
    assert RowsDataset(RowsConfig(path=path, limit=1)).sets.train[0].id == "a/2"
    assert refusal(path).startswith(f"{path} line 3: ")
    path = column(tmp_path / "a.parquet", pa.array(["1"] * 256 + [None]))
    assert RowsDataset(RowsConfig(path=path, limit=1)).sets.train[0].id == "a/1"
    assert refusal(path).startswith(f"{path} row 257: ")


def test_a_column_that_a_parquet_file_has_twice_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.Table.from_arrays([pa.array(["?"]), pa.array(["1"]), pa.array(["2"])], ["p", *"aa"])
    pq.write_table(table, path)
    message = refusal(str(path), prompt_column="p", answer_column="a")
    assert message == f"{path} has the column 'a' twice; drop one of them"


@pytest.mark.parametrize("path", ["x" * 5000, "a\x00.jsonl", "~nobody-of-this-name/a.jsonl"])
def test_a_path_that_the_system_refuses_is_named(path):
    assert path[:20].replace("\x00", "\\x00") in refusal(path)


def test_a_folder_named_as_a_file_is_refused(tmp_path):
    (tmp_path / "a.jsonl").mkdir()
    assert "is a directory; name its files" in refusal(str(tmp_path / "a.jsonl"))


@pytest.mark.parametrize("name", ["../../x", "a/", "a//b", ".", "missing", "train"])
def test_a_set_name_that_leaves_the_run_is_refused(name, tmp_path):
    path = lines(tmp_path / "a.jsonl", GOOD)
    for value in (path, RowSet(path=path)):
        assert refusal(path, evaluation={name: value}).startswith("dataset.evaluation: ")
    assert "share a file" in refusal(path, evaluation={"Seen": path}, score_seen=True)


def test_a_run_without_an_evaluation_set_is_told_so(tmp_path):
    path = lines(tmp_path / "a.jsonl", GOOD)
    facts = {"train": f"1 problems from {path}", "reward": "math_verify"}
    none = {"evaluation": "none; nothing is scored"}
    assert RowsDataset(RowsConfig(path=path)).plan(Setup()).facts == facts | none
    assert RowsDataset(RowsConfig(path=path, score_seen=True)).plan(Setup()).facts == facts


def warnings(dataset: RowsDataset, folder: Path) -> list[str]:
    folder.mkdir()
    ctx = RunContext(
        run=RunDir(folder), seed=0, attempt=0, devices=(), resume_from=None, keep_checkpoints=1
    )
    dataset.load(ctx)
    return [event["message"] for event in ctx.run.events() if event.get("warning")]


def test_training_rows_that_come_again_are_counted_and_warned_of(tmp_path):
    asked = ["a", "b", "a ", "a", "c"]
    train = lines(tmp_path / "t.jsonl", *(json.dumps({"prompt": p, "answer": "1"}) for p in asked))
    other = lines(
        tmp_path / "e.jsonl", *(json.dumps({"prompt": p, "answer": "1"}) for p in ["x", "Q: c"])
    )
    own = RowSet(path=other, drop_prefix="Q: ", instruction="Think.")
    sets = {"same": train, "other": own}
    dataset = RowsDataset(RowsConfig(path=train, evaluation=sets, instruction="Box it."))
    expected = [
        "2 of 5 training rows ask what an earlier row asks, first t/3 (as t/1); "
        "dataset.unique=true drops them",
        "5 of 5 training rows are also in the evaluation set 'same', first t/1 (as t/1); "
        "its scores are of problems that are trained on",
        "1 of 5 training rows are also in the evaluation set 'other', first t/5 (as e/2); "
        "its scores are of problems that are trained on",
    ]
    assert dataset.plan(Setup()).facts["repeats"] == "; ".join(expected)
    assert warnings(dataset, tmp_path / "run") == expected


def test_rows_that_do_not_come_again_are_passed_over(tmp_path):
    train = lines(tmp_path / "t.jsonl", GOOD, GOOD.replace("?", "!"), GOOD)
    test = lines(tmp_path / "e.jsonl", GOOD.replace("?", "other"))
    config = RowsConfig(path=train, evaluation={"e": test}, unique=True, score_seen=True)
    dataset = RowsDataset(config)
    assert "repeats" not in dataset.plan(Setup()).facts
    assert warnings(dataset, tmp_path / "run") == []


def test_the_reward_names_the_grading_rule(tmp_path):
    path = lines(tmp_path / "a.jsonl", GOOD)
    assert RowsDataset(RowsConfig(path=path)).sets.verify is RULES["math_verify"]
    published = RowsDataset(RowsConfig(path=path, reward="published")).sets
    assert published.verify is RULES["published"]
