"""A name that is too long is refused before any work, in one line."""

import pytest
from labrun.config.experiments import compose
from labrun.errors import LabError

LONG = "a" * 300


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (f"group={LONG}", "a group label has at most 200 bytes"),
        (f"group={'ä' * 101}", "a group label has at most 200 bytes"),
        (f"method={LONG}", "no method 'aaa"),
        (f"dataset={LONG}", "no dataset 'aaa"),
        (f"{LONG}=1", "no key"),
        (f"launcher={LONG}", "launcher="),
    ],
)
@pytest.mark.usefixtures("example")
def test_a_long_word_is_refused_when_the_configuration_is_composed(word, said):
    with pytest.raises(LabError) as error:
        compose(["plugin=example", word])
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1500


def test_a_label_of_200_bytes_is_a_folder_s_name(make_run, event, lab_here, home):
    label = "ä" * 100
    make_run(event.attempt(0), event.score(3, 0.5), group=label)
    compared = lab_here("compare", "--group", label)
    assert compared.returncode == 0, compared.stderr
    (folder,) = (home / "compare").iterdir()
    assert (folder / "scores.csv").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("compare", "--out", LONG), "File name too long; choose --out"),
        (("runs", "show", LONG), "no run"),
        (("run", "plugin=example", f"group={LONG}"), "a group label has at most 200 bytes"),
    ],
)
@pytest.mark.usefixtures("example")
def test_a_long_name_ends_a_command_in_one_line(lab_here, make_run, event, words, said):
    run = make_run(event.attempt(0), event.score(3, 0.5))
    asked = lab_here(*words)
    assert asked.returncode == 2
    assert asked.stderr.startswith("lab: ")
    assert asked.stderr.count("\n") == 1
    assert said in asked.stderr
    assert [path.name for path in run.path.parent.glob("*/spec.json")] == ["spec.json"]


@pytest.mark.parametrize("words", [("run", "plugin=example"), ("reindex",)])
@pytest.mark.usefixtures("example")
def test_a_home_with_a_long_name_is_refused(lab_here, home, monkeypatch, words):
    monkeypatch.setenv("LABRUN_HOME", str(home / LONG))
    asked = lab_here(*words)
    assert asked.returncode == 2
    assert asked.stderr.count("\n") == 1
    assert "holds a name of more than 255 bytes; set LABRUN_HOME to a folder" in asked.stderr
    assert not home.exists()
