"""CSV, compressed files, JSON arrays and chats in the forms that people have, and their errors."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lab_llm.datasets.components import RowsDataset
from lab_llm.datasets.config import RowsConfig
from lab_llm.datasets.row_problems import labels
from lab_llm.problems import Problem, ProblemSets, problem_sets
from labrun.errors import LabError
from labrun.plan import Setup

ROWS = [{"prompt": "1+1?", "answer": "2"}, {"prompt": "2+2?", "answer": "4"}]
AS_LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
AS_CSV = "prompt,answer\n1+1?,2\n2+2?,4\n"
USER = {"role": "user", "content": "1+1?"}


def written(path, content: str | bytes) -> str:
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return str(path)


def train(path, **settings):
    return RowsDataset(RowsConfig(path=path, **settings)).sets.train


def refusal(path, **settings) -> str:
    with pytest.raises(LabError) as caught:
        RowsDataset(RowsConfig(path=path, **settings)).plan(Setup())
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(path)


FORMS = [
    ("a.jsonl", AS_LINES, 1),
    ("a.json", AS_LINES, 1),
    ("a.json", json.dumps(ROWS), 1),
    ("a.json", "\ufeff\n " + json.dumps(ROWS, indent=2), 1),
    ("a.csv", AS_CSV, 2),
    ("a.csv", "\ufeff" + AS_CSV.replace("\n", "\r\n"), 2),
    ("a.tsv", AS_CSV.replace(",", "\t"), 2),
]


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize(("name", "content", "first"), FORMS)
def test_every_form_of_a_text_file_gives_the_same_problems(name, content, first, packed, tmp_path):
    problems = train(written(tmp_path / f"{name}{packed}", content))
    assert [(p.prompt[0]["content"], p.answer) for p in problems] == [("1+1?", "2"), ("2+2?", "4")]
    assert [p.id for p in problems] == [f"a/{first}", f"a/{first + 1}"]


def test_a_cell_may_hold_commas_quotes_line_ends_and_a_chat(tmp_path):
    chat = json.dumps([USER]).replace('"', '""')
    path = written(tmp_path / "a.csv", f'prompt,answer\n"a, ""b""\nc",1\n\n"{chat}",2\n')
    problems = train(path)
    assert [p.prompt[0]["content"] for p in problems] == ['a, "b"\nc', "1+1?"]
    assert [p.id for p in problems] == ["a/2", "a/5"]  # the lines that they begin in


def test_a_number_of_a_csv_file_stands_as_it_is_written(tmp_path):
    problems = train(written(tmp_path / "a.csv", "prompt,answer\na,0.10\nb,1e-05\n"))
    assert [p.answer for p in problems] == ["0.10", "1e-05"]


def test_a_digit_of_an_array_stands_as_in_the_file(tmp_path):
    path = written(tmp_path / "a.json", '[{"prompt": "a", "answer": 0.10}]')
    assert train(path)[0].answer == "0.10"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("prompt,answer\na,1\nb,1,2\n", " line 3 has 3 cells, allowed: 2, as many as the header ("),
        ("prompt,answer\na\n", " line 2 has 1 cells, allowed: 2, "),
        ('prompt,answer\na,1\n"b,2\nc,3\n', " line 3 is damaged: unexpected end of data; "),
        ('prompt,answer\n"a"b,1\n', " line 2 is damaged: ',' expected after '\"'; "),
        (b"prompt,answer\na,1\n\xe9,1\n", " line 3 is damaged: 'utf-8' codec"),
        ("prompt,answer\na,1\n".encode("utf-16"), " line 1 is UTF-16; cells in UTF-8 are read; "),
        ("prompt,answer\na,1\nb,\n", " line 3: column 'answer' holds no text or number but ''"),
        ("prompt,gold\na,1\n", " has no column 'answer'; it has: prompt, gold"),
        ("prompt,answer,answer\na,1,2\n", " has the column 'answer' twice; drop one of them"),
        ("", " is empty: it has no rows"),
        ("\n", " is empty: it has no rows"),
        ("prompt,answer\n", " is empty: it has no rows"),
    ],
)
def test_a_bad_row_of_a_csv_file_is_named(content, message, tmp_path):
    assert refusal(written(tmp_path / "a.csv", content)).startswith(message)


GOOD = '{"prompt": "?", "answer": "1"}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"[{GOOD}, 3]", " row 2 holds a number; an array of JSON objects is read"),
        (f"[{GOOD}\n{GOOD}]", " row 2 is damaged: Expecting ',' or ']' at line 2 character 1; "),
        (f"[{GOOD}, ]", " row 2 is damaged: Expecting value at line 1 character "),
        (f"[{GOOD}", " row 2 is damaged: Expecting ',' or ']' at line 1 character "),
        (f"[{GOOD}] x", " row 2 is damaged: Extra data at line 1 character "),
        (f'[{GOOD}, {{"a": NaN}}]', " row 2 holds NaN, which is no number; "),
        (f'[{GOOD}, {{"a": "\\ud800"}}]', " row 2 holds \\ud800, half of a character; "),
        (f'[{GOOD}, {{"a": {"[" * 200}{"]" * 200}}}]', " row 2 nests more than 100 lists"),
        (f'[{GOOD}, {{"a": {"[" * 100_000}', " row 2 nests more than 100 lists"),
        (f'[{GOOD}, {{"prompt": "?", "answer": " "}}]', " row 2: column 'answer' holds no text"),
        (b'[\n{"prompt": "\xe9"}]', " line 2 is damaged: 'utf-8' codec"),
        ("[]", " is empty: it has no rows"),
    ],
)
def test_a_bad_row_of_an_array_is_named(content, message, tmp_path):
    assert refusal(written(tmp_path / "a.json", content)).startswith(message)


def test_a_compressed_file_that_is_damaged_or_none_is_named(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    whole = gzip.compress(AS_LINES.encode() * 1000)
    for content in (whole[:-100], whole[:40] + b"\0" * 40 + whole[80:], AS_LINES.encode()):
        path.write_bytes(content)
        message = refusal(str(path))
        assert message.startswith(" is damaged: ")
        assert message.endswith("; copy or download it again")
    plain = tmp_path / "a.jsonl"
    plain.write_bytes(whole)
    assert refusal(str(plain)).endswith("are read; let the file's name end in .gz")


def test_a_compressed_parquet_file_is_refused(tmp_path):
    path = written(tmp_path / "a.parquet.gz", "x")
    assert refusal(path) == (
        ": no file of rows; allowed: .jsonl, .json, .csv, .tsv, each also with .gz behind it, "
        "and .parquet"
    )


SHARED = [{"from": "human", "value": "1+1?"}]
PARTS = [
    {"role": "user", "content": [{"type": "text", "text": "1+"}, {"type": "text", "text": "1?"}]}
]


@pytest.mark.parametrize("chat", [[USER], SHARED, PARTS, json.dumps(SHARED), json.dumps(PARTS)])
def test_chats_of_every_form_are_the_same_prompt(chat, tmp_path):
    row = {"chat": chat, "answer": "2"}
    as_lines = written(tmp_path / "a.jsonl", json.dumps(row))
    as_parquet = str(tmp_path / "a.parquet")
    pq.write_table(pa.Table.from_pylist([row]), as_parquet)
    for path in (as_lines, as_parquet):
        assert train(path, prompt_column="chat")[0].prompt == (USER,)


def test_the_speakers_of_sharegpt_become_roles(tmp_path):
    speakers = ["system", "human", "gpt", "user"]
    chat = [{"from": who, "value": who} for who in speakers]
    path = written(tmp_path / "a.jsonl", json.dumps({"prompt": chat, "answer": "2"}))
    roles = [message["role"] for message in train(path)[0].prompt]
    assert roles == ["system", "user", "assistant", "user"]


def test_the_last_message_of_a_column_that_is_named_twice_is_the_answer(tmp_path):
    chat = [*SHARED, {"from": "gpt", "value": "It is \\boxed{2}."}]
    path = written(tmp_path / "a.jsonl", json.dumps({"chat": chat, "gold": 2}))
    both = RowsDataset(RowsConfig(path=path, prompt_column="chat", answer_column="chat")).sets
    (problem,) = both.train
    assert (problem.prompt, problem.answer) == ((USER,), "It is \\boxed{2}.")
    assert both.verify(problem, "so \\boxed{2}") == 1.0
    (worked,) = train(path, prompt_column="chat", answer_column="gold", solution_column="chat")
    assert (worked.prompt, worked.answer, worked.solution) == ((USER,), "2", "It is \\boxed{2}.")
    message = refusal(path, prompt_column="chat", answer_column="gold")
    assert message.startswith(" line 1, column 'chat': the last message must come from the user: ")
    assert message.endswith("is the answer, name this column in answer_column too")


@pytest.mark.parametrize(
    ("chat", "message"),
    [
        ([{"from": "tool", "value": "x"}], "a message is from 'tool'; allowed: human, user, "),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}],
            'a part of a message is of type \'image_url\'; allowed: {"type": "text", ',
        ),
        ([{"role": "user", "content": ["x"]}], "a part of a message is 'x'; allowed: "),
        ([{"role": "user", "content": []}], "the question is blank in ''; drop the row"),
        ([{"from": "human"}], "a prompt is text or a list of messages with role and content, "),
        ([{"from": "gpt", "value": "x"}], "the last message must come from the user: "),
        ([], "a prompt is text or a list of messages"),
    ],
)
def test_what_is_no_chat_is_named_by_row(chat, message, tmp_path):
    path = written(tmp_path / "a.jsonl", json.dumps({"prompt": chat, "answer": "2"}))
    assert refusal(path).startswith(f" line 1, column 'prompt': {message}")


def test_a_chat_of_one_answer_alone_is_no_prompt(tmp_path):
    path = written(tmp_path / "a.jsonl", json.dumps({"c": [{"from": "gpt", "value": "x"}]}))
    message = refusal(path, prompt_column="c", answer_column="c")
    assert message.startswith(" line 1, column 'c': the last message must come from the user: ")


def test_a_message_in_both_forms_is_read_by_the_one_that_is_whole(tmp_path):
    rows = [
        {"role": "user", "from": "human", "value": "1+1?"},
        {"role": "user", "from": "human", "value": "2+2?", "content": None},
        {"role": "user", "content": "3+3?", "from": "human"},
    ]
    lines = "".join(json.dumps({"prompt": [row], "answer": "2"}) + "\n" for row in rows)
    problems = train(written(tmp_path / "a.jsonl", lines))
    asked = [problem.prompt for problem in problems]
    assert [p[0]["content"] for p in asked] == ["1+1?", "2+2?", "3+3?"]
    assert {p[0]["role"] for p in asked} == {"user"}


def test_files_of_one_name_have_labels_of_their_own():
    names = ["/d/a/t.jsonl", "/d/b/t.csv", "/d/c/b/t.jsonl", "/d/a/u.jsonl", "/d/a/u.jsonl"]
    assert labels([Path(name) for name in names]) == ["a/t", "d/b/t", "c/b/t", "u", "u#2"]
    assert labels([Path("/d/x.csv"), Path("/d/x.jsonl")]) == ["x", "x#2"]
    assert labels([Path("a/x.csv"), Path("a/x.jsonl"), Path("b/x.csv")]) == ["a/x", "a/x#2", "b/x"]
    assert labels([]) == []


def test_problems_of_files_of_one_name_have_ids_of_their_own(tmp_path):
    paths = []
    for folder in "ab":
        (tmp_path / folder).mkdir()
        paths.append(written(tmp_path / folder / "train.jsonl", AS_LINES))
    assert [p.id for p in train(paths)] == ["a/train/1", "a/train/2", "b/train/1", "b/train/2"]


def test_two_unlike_problems_of_one_id_are_refused():
    problem = Problem(id="p", prompt=(USER,), answer="2")
    again = ProblemSets(train=[problem, problem], evaluation={}, verify=lambda *_: 0.0)
    assert problem_sets(Setup(data=again), key="trainer") is again
    other = Problem(id="p", prompt=({**USER, "content": "2+2?"},), answer="2")
    sets = ProblemSets(train=[problem, other], evaluation={}, verify=lambda *_: 0.0)
    with pytest.raises(LabError, match="set 'train' has two problems with the id 'p'"):
        problem_sets(Setup(data=sets), key="trainer")
