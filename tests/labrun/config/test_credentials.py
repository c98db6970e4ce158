import io

import pytest
from labrun.cli.listing import print_run
from labrun.config.credentials import masked, refuse_secrets
from labrun.config.experiments import compose
from labrun.errors import LabError
from labrun.experiment import Experiment, RunConfig, TrackingConfig
from labrun.results.store import Mirror, check_uri
from labrun.results.store.facts import facts_of
from labrun.results.store.run_names import RunNames
from rich.console import Console


def experiment(uri: str = "", **trainer: object) -> Experiment:
    return Experiment(
        plugin="toy",
        run=RunConfig(tracking=TrackingConfig(uri=uri)),
        settings={"trainer": trainer},
        components={},
        choices={},
        overrides=(),
    )


def refusal(one: Experiment) -> str:
    with pytest.raises(LabError) as error:
        refuse_secrets(one)
    return str(error.value)


@pytest.mark.parametrize(
    "uri",
    [
        "http://me:hunter2@host:5000",
        "https://me:hunter2@host/path",
        "https://hunter2@host",
        "http://:hunter2@host",
        "http://me:hunter2%40@host",
        "http://me:p/hunter2@host",
        "http://me:p@hunter2@host",
        "http://host:5000/?token=hunter2",
        "http://host:5000/x?a=1&password=hunter2",
        "http://host:5000/?api_key=hunter2",
        "https://host/?access_token=hunter2#top",
        "postgresql://me:hunter2@host/db",
        "sqlite:///x.db?password=hunter2",
    ],
)
def test_an_address_with_a_secret_is_refused_without_its_secret(uri):
    said = refusal(experiment(uri))
    assert "hunter2" not in said
    assert said.startswith("tracking.uri=")
    assert "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in said
    assert "\n" not in said


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "http://host:5000",
        "https://host/a@b?x=1",
        "http://host:1/a@b",
        "sqlite:////tmp/x.db",
        "http://[::1]:1",
    ],
)
def test_an_address_without_a_secret_passes(uri):
    refuse_secrets(experiment(uri))


def test_secrets_in_other_addresses_are_refused_by_their_key():
    said = refusal(experiment(servers={"first": ["http://a", "http://me:hunter2@b"]}))
    assert said.startswith("trainer.servers.first=http://***@b: the address holds a secret")
    assert "hunter2" not in said


def test_a_text_that_holds_an_address_among_words_passes():
    refuse_secrets(experiment(prompt="write to http://me:you@host or a@b"))


def test_masked_text_keeps_all_but_the_secrets():
    text = "cannot reach http://me:word@host:5000/x?token=abc&y=1 today"
    assert masked(text) == "cannot reach http://***@host:5000/x?token=***&y=1 today"
    assert masked("http://me:word@host:5000/x?y=1", by="") == "http://host:5000/x?y=1"


def test_reindex_keeps_no_password_beside_the_runs(lab_here, make_run):
    run = make_run()
    asked = lab_here("reindex", "--uri", "http://me:hunter2@host:1")
    assert asked.returncode == 2
    assert asked.stderr.startswith("lab: --uri=http://***@host:1: the address holds a secret")
    assert "hunter2" not in asked.stderr
    assert not (run.path / "mlflow.json").exists()


def test_an_old_run_s_password_is_in_no_list_and_no_store(make_run, event):
    run = make_run(event.metrics(1, loss=1.0), uri="http://me:hunter2@host:1")
    facts = facts_of(run, RunNames())
    assert facts.params["tracking.uri"] == "http://***@host:1"
    assert "hunter2" not in str(facts)
    assert Mirror(run.path.parent, "http://me:hunter2@host:1").mended_by == (
        "lab reindex --uri http://host:1"
    )
    said = io.StringIO()
    words = ["tracking.uri=http://me:hunter2@host:1"]
    print_run(make_run(overrides=words), Console(file=said, width=200))
    assert "tracking.uri=http://***@host:1" in said.getvalue()


@pytest.mark.parametrize("text", ["ftp://me:hunter2@host", "http//me:hunter2@host"])
def test_an_address_of_an_unknown_kind_is_refused_without_its_secret(text):
    with pytest.raises(LabError) as error:
        check_uri(text)
    assert ("hunter2" in str(error.value)) == ("://" not in text)


@pytest.mark.parametrize("dry", [("--dry-run",), ()])
@pytest.mark.usefixtures("example")
def test_a_password_reaches_no_run_directory(lab_here, home, dry):
    asked = lab_here("run", "plugin=example", "tracking.uri=http://me:hunter2@host:1", *dry)
    assert asked.returncode == 2
    assert asked.stderr.count("\n") == 1
    assert "hunter2" not in asked.stderr + asked.stdout
    assert not home.exists()


@pytest.mark.parametrize(
    "word",
    [
        "noise=${oc.env:SECRET}",
        "noise=${oc.env:SECRET,0.5}",
        "noise=${oc.decode:${oc.env:SECRET}}",
        "tracking.uri=http://${oc.env:SECRET}@host",
        "group=${oc.env:SECRET}",
    ],
)
@pytest.mark.usefixtures("example")
def test_a_variable_of_the_environment_is_not_frozen(monkeypatch, word):
    monkeypatch.setenv("SECRET", "hunter2")
    with pytest.raises(LabError) as error:
        compose(["plugin=example", word])
    said = str(error.value)
    assert "oc.env would freeze the variable SECRET in spec.json for all to read" in said
    assert "hunter2" not in said
    assert "\n" not in said
