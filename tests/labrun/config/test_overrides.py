"""Words of the command line as they arrive in a plan."""

import shlex

import pytest
from labrun.config.words import command_line
from labrun.errors import LabError
from labrun.launch import session
from labrun.runs import run_dir
from labrun.runs.run_dir import RunDir

EMOJI = "\N{ROCKET}"
ROWS = "dataset=llm.rows"


def planned(*words: str):
    (experiment,) = session.plan(["plugin=rlrt", *words], sweep=False)
    return experiment


def refused(*words: str, sweep: bool = False) -> str:
    with pytest.raises(LabError) as error:
        session.plan(words, sweep=sweep)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        "epoch=6.ckpt",
        "/ckpt/epoch=6-step=10/model",
        "/ckpt/a#1",
        "/ckpt/模型-é",
        r"\\srv\share\m",
        "~/m",
        "~root/m",
        "/ckpt/m(1)",
        "/ckpt/m[1]",
        "/ckpt/{m}",
        "/ckpt/bob's",
        "/ckpt/a!b",
        "/ckpt/a&b",
        "/ckpt/a;b",
        "/ckpt/a<b",
        "007",
    ],
)
def test_a_model_s_name_stands_as_it_is_typed(name):
    assert planned(f"model.name={name}").settings["trainer"]["model"]["name"] == name


@pytest.mark.parametrize(
    "label",
    ["1e3", "1_000", "true", "null", "1.10", "1234567e8", "-0", "+1", "007", EMOJI, "数学 #1"],
)
def test_a_label_stays_text(label):
    assert planned(f"group={label}").run.group == label


@pytest.mark.parametrize("label", ["a/b", "..", ".a", "a\\b", "a\nb", "100%", "'  a'", "é" * 101])
def test_a_label_that_is_no_folder_s_name_is_refused(label):
    assert refused("plugin=rlrt", f"group={label}").endswith(
        r"a group label has at most 200 bytes, none of / \ : * ? | $ % @, "
        "and begins with no dot or space"
    )


def test_settings_of_components_stand_as_they_are_typed():
    experiment = planned(
        ROWS,
        "deepspeed=/etc/a=b.json",
        "trainer.teacher_template={prompt} ref {solution}",
        r"dataset.instruction=Put it in \boxed{}.",
        "answer_column=Lösung.final",
        "prompt_column='Frage (de)'",
        "solution_column=Weg (1)",
        "system_prompt=null",
        "model.revision=1234567e8",
        "dataset.path=[a=1.jsonl,b.jsonl]",
        "dataset.evaluation.a=b=c.jsonl",
        "dataset.evaluation.数学=c.jsonl",
        "dataset.evaluation.e v[0]={path: [x#1,007]}",
    )
    trainer, dataset = experiment.settings["trainer"], experiment.settings["dataset"]
    assert trainer["deepspeed"] == "/etc/a=b.json"
    assert trainer["teacher_template"] == "{prompt} ref {solution}"
    assert trainer["model"]["revision"] == "1234567e8"
    assert dataset["instruction"] == r"Put it in \boxed{}."
    assert dataset["answer_column"] == "Lösung.final"
    assert dataset["prompt_column"] == "Frage (de)"
    assert dataset["solution_column"] == "Weg (1)"
    assert dataset["system_prompt"] is None
    assert dataset["path"] == ["a=1.jsonl", "b.jsonl"]
    assert dataset["evaluation"] == {
        "a": "b=c.jsonl",
        "数学": "c.jsonl",
        "e v[0]": {"path": ["x#1", "007"]},
    }


@pytest.mark.parametrize("path", ["/data/part-[0-9].parquet", "/data/{a,b}.parquet", "[ab].jsonl"])
def test_a_glob_of_paths_is_one_text(path):
    assert planned(ROWS, f"dataset.path={path}").settings["dataset"]["path"] == path


def test_evaluation_sets_with_columns_of_their_own_are_a_mapping():
    sets = "{数学: a=b.jsonl, b: {path: [x#1,y], prompt_column: 1.10}}"
    experiment = planned(ROWS, f"dataset.evaluation={sets}", "dataset.evaluation.c.path=z")
    assert experiment.settings["dataset"]["evaluation"] == {
        "数学": "a=b.jsonl",
        "b": {"path": ["x#1", "y"], "prompt_column": "1.10"},
        "c": {"path": "z"},
    }


def test_a_sweep_over_paths_keeps_each_whole():
    words = ["plugin=rlrt", "model.name=/a=1,/{b,c},'/d,e'"]
    points = session.plan(words, sweep=True)
    names = [point.settings["trainer"]["model"]["name"] for point in points]
    assert names == ["/a=1", "/{b,c}", "/d,e"]


def test_values_survive_into_the_run_and_its_words_can_be_copied(tmp_path):
    words = ["model.name=/ckpt/bob's {m}=1", r"teacher_template=\\srv $x !", "group=-0"]
    run = run_dir.create(planned(*words), root=tmp_path)
    frozen = RunDir(run.path).experiment()
    assert frozen.settings["trainer"]["model"]["name"] == "/ckpt/bob's {m}=1"
    assert frozen.settings["trainer"]["teacher_template"] == r"\\srv $x !"
    assert frozen.run.group == "-0"
    again = session.plan(shlex.split(command_line(frozen.overrides)), sweep=False)
    assert (again[0].settings, again[0].run) == (frozen.settings, frozen.run)


@pytest.mark.parametrize("key", ["seed", "learning_rate"])
def test_an_enormous_number_is_refused_in_one_short_line(key):
    for digits in (115, 1_001, 5_000, 1_000_000):
        assert len(refused("plugin=rlrt", f"{key}={'9' * digits}", "max_steps=x")) < 400


@pytest.mark.parametrize(
    "word",
    [
        "a=" + "[" * 10_000,
        "seed=" + "[" * 10_000 + "]" * 10_000,
        "seed=" + "{a:" * 1_000 + "}" * 1_000,
        "noise=" + "${" * 5_000 + "}" * 5_000,
        "model.name=" + "${" * 100_000,
        "x" * 1_000_000 + "=1",
        "seed=" + "x" * 1_000_000,
        "model.name=/a\udcff",
        "\udcff=1",
        "a." * 5_000 + "b=1",
    ],
)
def test_deep_long_and_undecodable_words_are_refused_in_one_line(word):
    assert len(refused("plugin=rlrt", word)) < 3_000


def test_a_long_text_is_taken_whole():
    text = "word " * 40_000 + "end"
    assert planned(f"teacher_template={text}").settings["trainer"]["teacher_template"] == text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["methd=rlrt"], "no key 'methd'; did you mean method?"),
        (["datset=llm.rows"], "no key 'datset'; did you mean dataset?"),
        (["modle.name=x"], "no key 'modle.name'; did you mean trainer.model.name?"),
        (["sed =1"], "no key 'sed '; did you mean seed?"),
        (
            ["dataset=data/p.jsonl"],
            "no dataset 'data/p.jsonl'; for a path write dataset=llm.rows "
            "dataset.path=data/p.jsonl",
        ),
        (
            ["dataset=p.jsonl"],
            "no dataset 'p.jsonl'; for a path write dataset=llm.rows dataset.path=p.jsonl",
        ),
        (
            ["dataset=~/my p"],
            "no dataset '~/my p'; for a path write dataset=llm.rows 'dataset.path=~/my p'",
        ),
        (["dataset.path=a.jsonl"], "no key 'dataset.path'; dataset=llm.rows has dataset.path"),
        (["path=a.jsonl"], "no key 'path'; dataset=llm.rows has dataset.path"),
        (
            ["dataset.evaluation.a=x"],
            "no key 'dataset.evaluation.a'; dataset=llm.rows has dataset.evaluation",
        ),
        (["model=/ckpt/m"], "no model '/ckpt/m'; for a path write trainer.model.name=/ckpt/m"),
        (
            ["trainer.epsilon=0.2", "epsilon=0.3"],
            "trainer.epsilon is set twice: trainer.epsilon=0.2 and epsilon=0.3; keep one",
        ),
        (
            [ROWS, "dataset.evaluation.=x"],
            "no key 'dataset.evaluation.'; a dot stands between two names",
        ),
        (
            ["model.name=a,b"],
            "model.name=a,b: a value with commas is a sweep: add -m (or quote it: "
            "model.name='a,b', in a shell \"model.name='a,b'\")",
        ),
        (["model.name=???"], "model.name=???: Missing mandatory value: trainer.model.name"),
    ],
)
def test_a_refusal_names_what_to_write(words, message):
    assert refused("plugin=rlrt", *words) == message


def test_a_plugin_that_is_misspelt_as_a_key_is_named():
    assert refused("plugn=rlrt").startswith(
        "no plugin named; 'plugn' is no key, did you mean plugin? write plugin=NAME, installed: "
    )


def test_a_dollar_brace_that_is_no_interpolation_is_shown_escaped():
    message = refused("plugin=rlrt", "model.name=/a/${b")
    assert r"where ${ is no interpolation write model.name='/a/\${b', in a shell " in message
    name = planned(r"model.name='/a/\${b'").settings["trainer"]["model"]["name"]
    assert name == "/a/${b"


def test_a_key_that_a_sweep_and_a_word_set_is_refused():
    text = refused("plugin=rlrt", "seed=0,1", "seed=2", sweep=True)
    assert text == "seed is set twice: seed=0 and seed=2; keep one"
