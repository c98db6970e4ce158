"""Rows of files as problems, and what is said where they cannot be."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lab_llm.datasets.components import RowsDataset, chat
from lab_llm.datasets.config import RowsConfig, RowSet
from lab_llm.grading.verifiers import RULES
from labrun.errors import LabError
from labrun.plan import Setup

MATH = Path(__file__).parents[3] / "../shared/data/math"
USER = [{"role": "user", "content": "1+1?"}]
NESTED = {"prompt": USER, "reward_model": {"ground_truth": "2", "style": "rule"}}


def jsonl(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def parquet(path, *rows):
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return str(path)


def refusal(**settings):
    with pytest.raises(LabError) as caught:
        RowsDataset(RowsConfig(**settings)).plan(Setup())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_plain_rows_become_problems(tmp_path):
    train = jsonl(
        tmp_path / "a.jsonl",
        {"prompt": "1+1?", "answer": 2, "why": "one and one"},
        {"prompt": "[asy] x [/asy] 1+2?", "answer": "3", "why": "count"},
        {"prompt": "4?", "answer": "4", "why": "w"},
    )
    test = parquet(tmp_path / "b.parquet", {"prompt": "2+2?", "answer": 4, "why": "twice"})
    config = RowsConfig(
        path=train,
        evaluation={"b": test},
        solution_column="why",
        system_prompt="Be brief.",
        limit=2,
    )
    dataset = RowsDataset(config)
    assert dataset.plan(Setup()).facts == {
        "reward": "math_verify",
        "train": f"2 problems from {train}",
        "b": f"1 problems from {test}",
    }
    sets = dataset.sets
    assert [p.id for p in sets.train] == ["a/1", "a/2"]
    assert [p.answer for p in sets.train] == ["2", "3"]
    assert [p.solution for p in sets.train] == ["one and one", "count"]
    assert sets.train[1].prompt == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "[asy] x [/asy] 1+2?"},
    )
    assert [p.answer for p in sets.evaluation["b"]] == ["4"]
    assert sets.verify(sets.evaluation["b"][0], "\\boxed{4}") == 1.0


def test_structs_and_strings_that_hold_json_read_alike(tmp_path):
    as_text = {key: json.dumps(value) for key, value in NESTED.items()}
    paths = [
        jsonl(tmp_path / "structs.jsonl", NESTED),
        jsonl(tmp_path / "texts.json", as_text),
        parquet(tmp_path / "structs.parquet", NESTED),
        parquet(tmp_path / "texts.parquet", as_text),
    ]
    sets = RowsDataset(
        RowsConfig(path=tuple(paths), answer_column="reward_model.ground_truth")
    ).sets
    assert [(list(p.prompt), p.answer) for p in sets.train] == [(USER, "2")] * 4


def test_a_column_whose_own_name_has_a_dot_comes_first(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", {"prompt": "?", "a.b": "1", "a": {"b": "2"}})
    assert RowsDataset(RowsConfig(path=path, answer_column="a.b")).sets.train[0].answer == "1"


def test_globs_are_read_in_order_of_name(tmp_path):
    for name in ("b", "a"):
        jsonl(tmp_path / f"{name}.jsonl", {"prompt": name, "answer": "1"})
    sets = RowsDataset(RowsConfig(path=str(tmp_path / "*.jsonl"))).sets
    assert [p.id for p in sets.train] == ["a/1", "b/1"]


def test_a_system_prompt_takes_the_place_of_the_rows_own():
    value = [{"role": "system", "content": "old"}, *USER]
    assert chat(value, system_prompt="new", where="")[0] == {"role": "system", "content": "new"}
    assert len(chat(value, system_prompt="new", where="")) == 2
    assert chat(value, system_prompt=None, where="")[0]["content"] == "old"


@pytest.mark.parametrize("value", ["", None, 3, [], [{"role": "user"}], ["x"]])
def test_what_is_no_prompt_is_named(value):
    with pytest.raises(LabError, match="here: a prompt is text or a list"):
        chat(value, system_prompt=None, where="here")


def test_the_user_must_come_last():
    with pytest.raises(LabError, match="last message must come from the user"):
        chat([*USER, {"role": "assistant", "content": "2"}], system_prompt=None, where="here")


def test_a_missing_file_names_the_nearest(tmp_path):
    jsonl(tmp_path / "train.jsonl", NESTED)
    assert f"did you mean {tmp_path / 'train.jsonl'}?" in refusal(path=str(tmp_path / "tran.jsonl"))
    assert "name its files" in refusal(path=str(tmp_path))
    assert "dataset.path is not set" in refusal()
    (tmp_path / "a.txt").write_text("x")
    assert ".jsonl, .json, .csv, .tsv" in refusal(path=str(tmp_path / "a.txt"))


def test_a_file_whose_folder_is_not_here_is_missing_and_no_error(tmp_path):
    path = str(tmp_path / "x/y/a.jsonl")
    (missing,) = RowsDataset(RowsConfig(path=path)).plan(Setup()).missing
    assert missing.startswith(f"no file '{path}'; there is no folder {tmp_path / 'x'} in ")


@pytest.mark.parametrize("write", [jsonl, parquet])
def test_a_missing_column_names_file_and_columns(tmp_path, write):
    path = write(tmp_path / f"a.{write.__name__}", NESTED)
    # a Parquet file has the same columns in every row
    whole, row = (path, f"{path} row 1") if write is parquet else (f"{path} line 1",) * 2
    message = refusal(path=path, answer_column="reward_modl.ground_truth")
    assert message.startswith(f"{whole} has no column 'reward_modl.ground_truth'; ")
    assert message.endswith("it has: prompt, reward_model")
    message = refusal(path=path, answer_column="reward_model.ground_trut")
    assert message.startswith(f"{row} has no column 'reward_model.ground_trut'; ")
    assert "did you mean 'reward_model.ground_truth'?" in message
    message = refusal(path=path, answer_column="prompt.role")
    assert message == f"{row}: column 'prompt.role' leads through a list"


def test_a_missing_answer_names_its_row(tmp_path):
    path = jsonl(
        tmp_path / "a.jsonl", {"prompt": "?", "answer": "1"}, {"prompt": "?", "answer": None}
    )
    with pytest.raises(
        LabError, match=r"a\.jsonl line 2: column 'answer' holds no text or number but None"
    ):
        RowsDataset(RowsConfig(path=path)).fingerprint()


def test_empty_and_damaged_files_are_refused_before_a_run(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    assert "empty.jsonl is empty" in refusal(path=str(tmp_path / "empty.jsonl"))
    path = parquet(tmp_path / "none.parquet", {"prompt": "?", "answer": "1"})
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    assert "none.parquet is empty" in refusal(path=path)

    (tmp_path / "cut.jsonl").write_text('{"prompt": "?", "answer": "1"}\n{"prompt": "?", "ans')
    assert "cut.jsonl line 2 is damaged" in refusal(path=str(tmp_path / "cut.jsonl"))
    (tmp_path / "list.json").write_text('["prompt"]')
    assert "list.json row 1 holds text" in refusal(path=str(tmp_path / "list.json"))
    whole = parquet(tmp_path / "cut.parquet", {"prompt": "?", "answer": "1"})
    Path(whole).write_bytes(Path(whole).read_bytes()[:-20])
    assert "cut.parquet is damaged" in refusal(path=whole)


def test_a_damaged_line_in_the_middle_is_named_at_load(tmp_path):
    row = '{"prompt": "?", "answer": "1"}\n'
    (tmp_path / "a.jsonl").write_text(row + "{nonsense\n" + row)
    with pytest.raises(LabError, match=r"a\.jsonl line 2 is damaged"):
        RowsDataset(RowsConfig(path=str(tmp_path / "a.jsonl"))).fingerprint()


def test_equal_data_have_equal_fingerprints(tmp_path):
    row = {"prompt": "?", "answer": "1"}
    one = RowsDataset(RowsConfig(path=jsonl(tmp_path / "a.jsonl", row))).fingerprint()
    (tmp_path / "other").mkdir()
    same = RowsDataset(RowsConfig(path=parquet(tmp_path / "other/a.parquet", row))).fingerprint()
    other = jsonl(tmp_path / "other/a.jsonl", {**row, "answer": "2"})
    assert one == same != RowsDataset(RowsConfig(path=other)).fingerprint()


def test_the_competition_files_are_read_as_they_are():
    if not MATH.is_dir():
        pytest.skip("no competition data beside the repository")
    names = ("amc23", "math500", "aime24", "aime25")
    dataset = RowsDataset(
        RowsConfig(
            path=str(MATH / "section_6_2/seen_512.parquet"),
            evaluation={name: str(MATH / f"evaluation/{name}.parquet") for name in names},
            answer_column="reward_model.ground_truth",
        )
    )
    dataset.plan(Setup())
    sets = dataset.sets
    assert len(sets.train) == 512
    assert [len(sets.evaluation[name]) for name in names] == [40, 500, 30, 30]
    assert sets.evaluation["amc23"][0].answer == "27"
    assert sets.evaluation["math500"][0].answer == "\\left( 3, \\frac{\\pi}{2} \\right)"
    for problem in [*sets.train, *(p for found in sets.evaluation.values() for p in found)]:
        assert [message["role"] for message in problem.prompt] == ["user"]
        assert sets.verify(problem, f"\\boxed{{{problem.answer}}}") == 1.0, problem.id


def test_a_column_that_a_later_row_lacks_is_refused_before_a_run(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "?", "answer": "1"}\n{"prompt": "?"}\n')
    assert refusal(path=str(path)) == f"{path} line 2 has no column 'answer'; it has: prompt"


def test_a_question_seen_before_is_dropped_and_the_limit_counts_problems(tmp_path):
    rows = [{"prompt": p, "answer": a} for p, a in (("x", 1), ("x", 2), ("y", 3), ("x", 4))]
    path = jsonl(tmp_path / "a.jsonl", *rows, {"prompt": "z", "answer": 5})
    ids = [p.id for p in RowsDataset(RowsConfig(path=path, unique=True)).sets.train]
    assert ids == ["a/1", "a/3", "a/5"]
    two = RowsDataset(RowsConfig(path=path, unique=True, limit=2)).sets.train
    assert [p.answer for p in two] == ["1", "3"]
    assert len(RowsDataset(RowsConfig(path=path)).sets.train) == 5


def test_an_instruction_takes_the_place_of_the_sets_own(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", {"prompt": "Solve: 1+1? Thanks.", "answer": 2})
    config = RowsConfig(
        path=path, drop_prefix="Solve: ", drop_suffix=" Thanks.", instruction="Box it."
    )
    assert RowsDataset(config).sets.train[0].prompt[-1]["content"] == "1+1?\nBox it."


def test_half_of_a_surrogate_pair_is_refused_by_file_and_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"prompt": "smile \\ud83d\\ude00", "answer": 1}\n{"prompt": "x \\ud800 y", "answer": 1}\n'
    )
    message = f"{path} line 2 holds \\ud800, half of a character; mend or drop the row"
    assert refusal(path=str(path)) == message
    first = RowsDataset(RowsConfig(path=str(path), limit=1)).sets.train[0]
    assert first.prompt[0]["content"] == "smile \U0001f600"
    path.write_bytes(b'{"prompt": "x \xed\xa0\x80 y", "answer": 1}\n')  # the same, not escaped
    assert refusal(path=str(path)).startswith(f"{path} line 1 is damaged: 'utf-8' codec")


def test_half_of_a_surrogate_pair_in_a_text_that_holds_json_is_refused(tmp_path):
    for name, unit, write in (("a.jsonl", "line", jsonl), ("a.parquet", "row", parquet)):
        path = write(tmp_path / name, {"prompt": "?", "more": '{"answer": "\\ud83d"}'})
        message = f"{path} {unit} 1: column 'more.answer' holds \\ud83d, half of a character; mend"
        assert refusal(path=str(path), answer_column="more.answer").startswith(message)


def test_a_parquet_row_whose_text_is_no_utf_8_is_refused_by_number(tmp_path):
    texts = [b"fine"] * 300
    texts[297] = b"x \xed\xa0\x80"
    unchecked = pa.array(texts, pa.binary()).view(pa.string())
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"prompt": unchecked, "answer": ["1"] * 300}), path)
    assert refusal(path=str(path)).startswith(f"{path} row 298 is damaged: 'utf-8' codec")


def test_an_evaluation_set_may_have_columns_and_wording_of_its_own(tmp_path):
    train = jsonl(tmp_path / "a.jsonl", {"prompt": "1?", "answer": 1})
    own = jsonl(tmp_path / "b.jsonl", {"question": "Q: 2?", "result": "\\boxed{2}"})
    other = RowSet(path=own, prompt_column="question", answer_column="result", drop_prefix="Q: ")
    silent = RowSet(path=train, instruction="")
    sets = RowsDataset(
        RowsConfig(path=train, instruction="Box it.", evaluation={"b": other, "c": silent})
    ).sets
    (found,) = sets.evaluation["b"]
    assert found.prompt[0]["content"] == "2?\nBox it."
    assert sets.verify(found, "\\boxed{2}") == 1.0
    assert sets.evaluation["c"][0].prompt[0]["content"] == "1?"


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A cached hub data set lab/sums with one training row; its snapshot's folder."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    root = tmp_path / "datasets--lab--sums"
    (root / "refs").mkdir(parents=True)
    (root / "refs/main").write_text("c0ffee")
    data = root / "snapshots/c0ffee/data"
    data.mkdir(parents=True)
    parquet(data / "train-00000-of-00001.parquet", {"prompt": "1?", "answer": "1"})
    return root / "snapshots/c0ffee"


def test_a_cached_hub_data_set_is_read_without_a_download(cached):
    for path in ("hub:lab/sums", "hub:lab/sums@main", "hub:lab/sums@main:data/train-*"):
        assert [p.answer for p in RowsDataset(RowsConfig(path=path)).sets.train] == ["1"]
    assert "it holds data/train-00000-of-00001.parquet" in refusal(path="hub:lab/sums:other/*")
    assert "a hub data set is written hub:org/name" in refusal(path="hub:sums")


def test_jsonl_is_read_where_a_hub_data_set_has_no_parquet(cached):
    (cached / "data/train-00000-of-00001.parquet").unlink()
    jsonl(cached / "test.jsonl", {"prompt": "2?", "answer": "2"})
    assert [p.answer for p in RowsDataset(RowsConfig(path="hub:lab/sums")).sets.train] == ["2"]


def test_several_splits_of_a_hub_data_set_are_not_read_as_one(cached):
    parquet(cached / "data/test-00000-of-00001.parquet", {"prompt": "2?", "answer": "2"})
    assert "has several splits" in refusal(path="hub:lab/sums")
    train = RowsDataset(RowsConfig(path="hub:lab/sums:data/train-*")).sets.train
    assert [p.answer for p in train] == ["1"]


def test_hub_data_sets_that_are_not_here_are_listed_with_their_commands(cached):
    dataset = RowsDataset(
        RowsConfig(path="hub:lab/more@v2", evaluation={"e": "hub:lab/sums", "f": "hub:lab/else"})
    )
    plan = dataset.plan(Setup())
    assert str(plan.facts["e"]).startswith("1 problems from")
    first, second = plan.missing
    assert first.endswith("hf download --repo-type dataset lab/more --revision v2")
    assert second.endswith("hf download --repo-type dataset lab/else")
    with pytest.raises(LabError, match="lab/more"):
        dataset.fingerprint()


def test_the_training_problems_are_scored_once_each_where_asked(tmp_path):
    lines = [{"prompt": p, "answer": "1"} for p in ("a", "b", "a", "c")]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    how = {"path": str(path), "evaluation": {"ood": str(path)}, "limit": 3}
    sets = RowsDataset(RowsConfig(**how, score_seen=True)).sets
    assert list(sets.evaluation) == ["seen", "ood"]
    asked = [problem.prompt[-1]["content"] for problem in sets.evaluation["seen"]]
    assert asked == ["a", "b"]
    assert list(RowsDataset(RowsConfig(**how)).sets.evaluation) == ["ood"]
    taken = RowsConfig(path=str(path), evaluation={"seen": str(path)}, score_seen=True)
    with pytest.raises(LabError, match="makes a set `seen`; rename"):
        RowsDataset(taken).plan(Setup())


@pytest.mark.parametrize(
    ("evaluation_reward", "scored", "said"),
    [
        ("same", "published", "published"),
        ("math_verify", "math_verify", "published; scores by math_verify"),
    ],
)
def test_the_training_reward_may_be_another_rule_than_the_scores(
    tmp_path, evaluation_reward, scored, said
):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "1+1?", "answer": "2"}\n')
    config = RowsConfig(path=str(path), reward="published", evaluation_reward=evaluation_reward)
    dataset = RowsDataset(config)
    assert (dataset.sets.reward, dataset.sets.verify) == (RULES["published"], RULES[scored])
    assert dataset.plan(Setup()).facts["reward"] == said
