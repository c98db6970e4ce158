"""A user's own defaults of where runs run."""

import json

import pytest
from labrun.config import user_defaults
from labrun.config.experiments import compose, key_of
from labrun.errors import LabError
from labrun.runs import run_dir

RUN = ["plugin=example", "max_steps=0"]


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "defaults.yaml"
    monkeypatch.setenv("LABRUN_DEFAULTS", str(path))
    return path


def test_a_file_of_the_users_replaces_the_defaults_of_every_run(file, example):
    file.write_text("resources: {num_cpus: 3}\ntracking:\n  also: [tensorboard]\n")
    experiment = compose(RUN)
    assert experiment.run.resources.num_cpus == 3
    assert experiment.run.tracking.also == ("tensorboard",)
    assert experiment.defaults == (
        f"resources.num_cpus=3 ({file}, line 1)",
        f"tracking.also=[tensorboard] ({file}, line 3)",
    )


def test_a_typed_word_wins_over_the_file(file, example):
    file.write_text("- max_retries=7\n- resources.num_cpus=3\n")
    experiment = compose([*RUN, "max_retries=1", "num_cpus=3"])
    assert (experiment.run.max_retries, experiment.run.resources.num_cpus) == (1, 3)
    assert experiment.defaults == ()


def test_a_preset_wins_over_the_file(file):
    file.write_text("resources: {num_gpus: 3, min_gpu_memory_gib: 70}\n")
    experiment = compose(["plugin=epistemic", "scale=paper"])
    resources = experiment.run.resources
    assert (resources.num_gpus, resources.min_gpu_memory_gib) == (8, 70)
    assert experiment.defaults == (f"resources.min_gpu_memory_gib=70 ({file}, line 1)",)


def test_a_changed_file_counts_at_once_and_an_empty_variable_means_none(file, example, monkeypatch):
    for number in (4, 11):
        file.write_text(f"max_retries: {number}\n")
        assert compose(RUN).run.max_retries == number
    monkeypatch.setenv("LABRUN_DEFAULTS", "")
    assert compose(RUN).run.max_retries == 2


def test_the_users_configuration_folder_holds_the_file(tmp_path, monkeypatch):
    monkeypatch.delenv("LABRUN_DEFAULTS")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert user_defaults.path() is None
    (tmp_path / "labrun").mkdir()
    (tmp_path / "labrun" / "defaults.yaml").write_text("launcher: slurm\n")
    assert user_defaults.current().run.launcher == "slurm"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_retrys: 1", r"no key for a default 'max_retrys'; did you mean 'max_retries'\?.*"),
        ("a: 1\nb: 2", r"no key for a default 'a'.*line 1\)"),
        ("max_retries: 1\nlauncher: slrum", r"launcher=\"slrum\": .*'slurm'.*line 2\)"),
        ("resources: {num_cpus: 0}", r"resources.num_cpus=0: .*line 1\)"),
        ("resources: 3", r"no key for a default 'resources'; .*line 1\)"),
        ("seed: 3", r"seed belongs to single runs; .*@FILE.yaml \(.*line 1\)"),
        ("trainer: {max_steps: 3}", r"trainer.max_steps belongs to single runs; .*line 1\)"),
        ("- max_retries=1\n- max_retries=2", r"max_retries is set twice; keep one \(.*line 2\)"),
        ("slurm.account: ${oc.env:HOME}", r"a default reads no other value; .*line 1\)"),
        ("tracking.uri: http://me:word@h:1", r"http://\*\*\*@h:1: .*holds a secret.*line 1\)"),
        ("slurm", r"the file holds one text; .*line 1\)"),
        ("", "is empty; write KEY: VALUE lines"),
    ],
)
def test_what_the_file_may_not_hold_is_refused_with_file_and_line(file, example, text, said):
    file.write_text(text)
    with pytest.raises(LabError, match=said) as error:
        compose(RUN)
    assert str(file) in str(error.value)


def test_a_named_file_that_is_not_there_is_refused(file, example):
    with pytest.raises(LabError, match=r"LABRUN_DEFAULTS=.*No such file.*set LABRUN_DEFAULTS= "):
        compose(RUN)


def test_the_spec_says_which_file_set_a_value_and_runs_that_agree_are_equal(
    file, example, tmp_path
):
    file.write_text("[]")
    plain = run_dir.create(compose(RUN), root=tmp_path)
    file.write_text("max_retries: 2\n")
    own = run_dir.create(compose(RUN), root=tmp_path)
    spec = json.loads((own.path / "spec.json").read_text())["experiment"]
    assert spec["defaults"] == [f"max_retries=2 ({file}, line 1)"]
    assert own.experiment().defaults == tuple(spec["defaults"])
    assert "defaults" not in json.loads((plain.path / "spec.json").read_text())["experiment"]
    assert key_of(own.experiment()) == key_of(plain.experiment())
