"""A run's model in MLflow's registry."""

import pytest
from labrun.errors import LabError
from labrun.results.store import Mirror, ensure_sqlite
from labrun.results.store.registry import Version, register

# MLflow and SQLAlchemy use deprecated features of each other and of their dependencies.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def mirror(tmp_path) -> Mirror:
    ensure_sqlite(tmp_path / "home" / "mlflow.db")
    return Mirror(tmp_path / "home")


def with_model(run):
    (run.artifacts / "model").mkdir()
    (run.artifacts / "model" / "weights.safetensors").write_bytes(b"weights")
    return run


def test_versions_count_up_and_lead_to_the_model(mirror, make_run):
    first, second = with_model(make_run()), with_model(make_run(seed=1))
    assert register(first, "policy", mirror=mirror) == Version(1, True)
    assert register(second, "policy", mirror=mirror) == Version(2, True)
    client = mirror.client()
    version = client.get_model_version("policy", "2")
    assert client.get_run(version.run_id).data.tags["labrun.id"] == second.id
    assert version.source == (second.artifacts / "model").as_uri()
    mirror.update(second, afresh=True)
    assert client.get_run(version.run_id).data.tags["labrun.id"] == second.id


def test_a_run_is_registered_once_under_a_name(mirror, make_run):
    run = with_model(make_run())
    register(run, "policy", mirror=mirror)
    assert register(run, "policy", mirror=mirror) == Version(1, False)
    assert register(run, "other", mirror=mirror) == Version(1, True)


def test_weights_beside_other_artifacts_are_a_model(mirror, make_run):
    run = make_run()
    (run.artifacts / "learner.pt").write_bytes(b"weights")
    register(run, "agents", mirror=mirror)
    assert mirror.client().get_model_version("agents", "1").source == run.artifacts.as_uri()


@pytest.mark.parametrize(
    ("state", "reason"),
    [("done", "left no model: "), ("failed", "is failed; a model is registered once its run is")],
)
def test_a_run_without_a_model_is_refused(mirror, make_run, state, reason):
    run = make_run(state=state)
    with pytest.raises(LabError, match=reason):
        register(run, "policy", mirror=mirror)


def test_a_name_with_a_quote_is_a_name(mirror, make_run):
    assert register(with_model(make_run()), "it's", mirror=mirror) == Version(1, True)


@pytest.mark.parametrize("name", ["", "a/b"])
def test_a_name_that_mlflow_refuses_is_one_line(mirror, make_run, name):
    run = with_model(make_run())
    with pytest.raises(LabError, match="MLflow does not register") as refused:
        register(run, name, mirror=mirror)
    assert "\n" not in str(refused.value)


def test_the_command_says_the_version_and_where_it_is(lab_here, make_run, mirror):
    run = with_model(make_run())
    said = lab_here("runs", "register", run.id, "policy")
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout == f"{run.id} is version 1 of policy: models:/policy/1\n"
