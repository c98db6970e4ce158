"""Words out of a YAML file of the user's, and the line that an error names."""

import pytest
from labrun.config import word_files
from labrun.config.word_files import located, spread, texts
from labrun.errors import LabError
from labrun.launch import session


@pytest.fixture
def written(tmp_path, monkeypatch):
    """`written(text)`: the word `@my.yaml` of a file in the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> str:
        (tmp_path / "my.yaml").write_text(text)
        return "@my.yaml"

    return write


def words(*typed: str) -> list[list[str]]:
    return [texts(point) for point in spread(typed)]


def refused(*typed: str) -> str:
    with pytest.raises(LabError) as error:
        spread(typed)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_words_without_a_file_stay_as_they_are_typed():
    assert words("plugin=example", "seed=0,1") == [["plugin=example", "seed=0,1"]]


def test_a_list_holds_words_as_they_are_typed(written):
    file = written("- plugin=example\n- 'trainer.start={slope: 1.0}'\n- method: momentum\n")
    assert words(file) == [["plugin=example", "trainer.start={slope: 1.0}", "method=momentum"]]


def test_a_mapping_is_read_as_on_the_command_line_but_for_values_in_quotes(written):
    file = written(
        "plugin: example\n"
        "trainer:\n  learning_rate: 1e-3\n  start: {slope: 1.0}\n"
        'group: "a, b"\n'
        "dataset.held_out_file: ~\n"
        "evaluator: [mse, mae]\n"
        "seed: 0,1\n"
    )
    assert words(file) == [
        [
            "plugin=example",
            "trainer.learning_rate=1e-3",
            "trainer.start.slope=1.0",
            "group='a, b'",
            "dataset.held_out_file=null",
            "evaluator=[mse, mae]",
            "seed=0,1",
        ]
    ]


def test_an_item_with_a_comma_or_colon_is_quoted(written):
    assert words(written("path: ['a,b', hub:x, c]")) == [["path=['a,b', 'hub:x', c]"]]


def test_a_typed_word_takes_the_place_of_the_file_s_in_full_or_by_its_end(written):
    file = written("plugin: example\ntrainer: {max_steps: 5}\nlearning_rate: 0.2\n")
    assert words("max_steps=2", file, "trainer.learning_rate=0.1") == [
        ["plugin=example", "max_steps=2", "trainer.learning_rate=0.1"]
    ]


def test_a_later_file_takes_the_place_of_an_earlier_one(written, tmp_path):
    file = written("- plugin=example\n- seed=1\n")
    (tmp_path / "other.yaml").write_text("seed: 2\n")
    assert words(file, "@other.yaml") == [["plugin=example", "seed=2"]]


def test_each_arm_of_a_file_is_a_run_in_one_group(example, written):
    file = written(
        "plugin: example\nmax_steps: 3\n"
        "arms:\n  a: method=plain\n  b: {method: momentum, max_steps: 4}\n"
        "  c: [method=plain, seed=9]\n"
    )
    assert words(file) == [
        ["plugin=example", "max_steps=3", "method=plain"],
        ["plugin=example", "method=momentum", "max_steps=4"],
        ["plugin=example", "max_steps=3", "method=plain", "seed=9"],
    ]
    planned = session.planned(words(file))
    assert [(e.choices["method"], e.run.seed) for e in planned] == [
        ("plain", 0),
        ("momentum", 0),
        ("plain", 9),
    ]
    assert len({e.run.group for e in planned}) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "my.yaml is empty; write KEY: VALUE lines"),
        ("a: [1", "this is no YAML: expected ',' or ']', but got '<stream end>' (my.yaml, line 1)"),
        (
            "plugin=example",
            "the file holds one text; write `- KEY=VALUE` or KEY: VALUE lines (my.yaml, line 1)",
        ),
        ("- a=1\n- b\n", "cannot read 'b', expected key=value (my.yaml, line 2)"),
        ("- [a=1]\n", "a list inside a list; write one word a line (my.yaml, line 1)"),
        ("a: 1\n\na: 2\n", "the file has the key a twice; keep one (my.yaml, line 3)"),
        ("a=1: 2\n", "'a=1': a key holds no =; write KEY: VALUE (my.yaml, line 1)"),
        ("arms: [a=1]\n", "arms holds a list; write KEY: VALUE lines (my.yaml, line 1)"),
        ("arms:\n", "arms holds nothing; write KEY: VALUE lines (my.yaml, line 1)"),
        ("arms: {}\n", "arms is empty; write LABEL: KEY=VALUE lines, or leave it out"),
        ("question: q\narms: {}\n", "this file is a suite; `lab bench my.yaml` runs it"),
        ("a: &a {b: *a}\n", "more than 12 mappings inside each other (my.yaml, line 1)"),
        ("a: &a [*a]\n", "more than 12 lists inside each other (my.yaml, line 1)"),
        ("{? [x] : 1}", "a key of the file is no text (my.yaml, line 1)"),
    ],
)
def test_a_file_that_holds_no_words_is_refused_with_its_line(written, text, expected):
    assert expected in refused(written(text))


def test_a_file_that_is_not_there_is_named_with_its_nearest(written):
    written("a: 1")
    assert refused("@mi.yaml").startswith("no file mi.yaml; did you mean 'my.yaml'? ")
    assert refused("@") == "@: write @FILE.yaml, a file with words"


def test_a_typed_key_by_which_the_arms_differ_is_refused(written):
    file = written("plugin: example\narms: {a: method=plain, b: method=momentum}\n")
    assert refused(file, "method=plain") == (
        "method=plain: method is what the arms of my.yaml differ in; "
        "leave it out, or change the file"
    )


def located_error(typed: list[str], sweep: bool = False) -> str:
    points = spread(typed)
    with pytest.raises(LabError) as error, located(points):
        session.planned([word_files.texts(point) for point in points])
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "beginning", "line"),
    [
        ("plugin: exampel\nseed: 1\n", "no plugin 'exampel'; did you mean 'example'?", 1),
        ("plugin: example\n\nmethod: plane\n", "no method 'plane'", 3),
        ("plugin: example\nseed: 1\nmax_stepz: 3\n", "no key 'max_stepz'", 3),
        ("plugin: example\ntrainer:\n  max_steps: many\n", "trainer.max_steps", 3),
        ("plugin: example\narms:\n  a: seed=1\n  b: seed=-1\n", "seed=-1", 4),
    ],
)
def test_what_is_refused_names_the_line_of_its_word(example, written, text, beginning, line):
    said = located_error([written(text)])
    assert said.startswith(beginning)
    assert said.endswith(f" (my.yaml, line {line})")


def test_a_typed_word_that_is_refused_names_no_line(example, written):
    said = located_error([written("plugin: example\nseed: 1\n"), "max_stepz=3"])
    assert "my.yaml" not in said


def test_a_value_that_the_plan_refuses_names_its_line(example, written):
    file = written("plugin: example\ndataset:\n  held_out_file: gone.csv\n")
    points = spread([file])
    with pytest.raises(LabError) as error, located(points):
        session.preflight(session.planned([word_files.texts(point) for point in points]))
    assert str(error.value) == "dataset.held_out_file=gone.csv: no such file (my.yaml, line 3)"
