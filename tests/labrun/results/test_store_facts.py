"""What MLflow shows of a run beside its points, read through MLflow's client.

Both ways of writing are held to it: rows of the sqlite file, and MLflow's client.
"""

import getpass
import json
import sqlite3
from pathlib import Path

import pytest
from labrun.results.store import Mirror, catch_up, ensure_sqlite
from labrun.results.store.reindex import reindex
from labrun.results.store.server import Server
from labrun.runs import notes
from labrun.runs.run_dir import RunDir

# MLflow and SQLAlchemy use deprecated features of each other and of their dependencies.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def mirror(tmp_path) -> Mirror:
    ensure_sqlite(tmp_path / "home" / "mlflow.db")
    return Mirror(tmp_path / "home")


@pytest.fixture(params=["rows", "client"])
def written(request, mirror):
    """`written(run)`: the run as MLflow's client reads it, once it is written."""
    client = mirror.client()
    server = Server(mirror.home, mirror.where, client, folder=mirror.home)

    def write(run: RunDir):
        if request.param == "rows":
            mirror.update(run)
        else:
            server.update(run)
        return only(mirror)

    return write


def only(mirror):
    client = mirror.client()
    experiment = client.get_experiment_by_name("labrun")
    (run,) = client.search_runs([experiment.experiment_id])
    return run


def end(run: RunDir, state: str = "done") -> None:
    """Another status, with a time of its own."""
    run.write_status(state=state, step=2)


def test_one_experiment_holds_the_runs_of_all_plugins(mirror, make_run):
    for plugin in ("rlrt", "stairs"):
        mirror.update(make_run(plugin=plugin, method="x", group="both"))
    client = mirror.client()
    experiment = client.get_experiment_by_name("labrun")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    found = client.search_runs([experiment.experiment_id], "tags.`group` = 'both'")
    assert sorted(run.data.tags["plugin"] for run in found) == ["rlrt", "stairs"]


def test_a_run_says_who_made_it_and_how(written, make_run):
    run = make_run(method="momentum", seed=4)
    (run.path / "provenance.json").write_text('{"git_commit": "c0ffee"}')
    stored = written(run)
    assert stored.info.run_name == "momentum seed 4"
    shown = {
        "mlflow.user": getpass.getuser(),
        "mlflow.source.name": "lab run plugin=toy method=momentum seed=4",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": "c0ffee",
        "method": "momentum",
        "plugin": "toy",
        "group": "g",
    }
    assert shown.items() <= stored.data.tags.items()


def test_the_data_of_a_run_is_an_input(written, make_run):
    run = make_run(sections={"dataset": {"size": 3, "split": {"name": "train"}}})
    (run.path / "data.json").write_text(json.dumps({"fingerprint": "0123456789abcdef" * 4}))
    written(run)
    end(run)
    (found,) = written(run).inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.digest) == ("toy", "0123456789ab")
    assert json.loads(found.dataset.profile) == {"size": "3", "split.name": "train"}
    assert json.loads(found.dataset.source) == {
        "tags": {"mlflow.source.name": "toy", "mlflow.source.type": "LOCAL"}
    }
    assert [(tag.key, tag.value) for tag in found.tags] == [("mlflow.data.context", "training")]


def test_a_run_that_has_read_no_data_has_no_input(written, make_run):
    assert written(make_run()).inputs.dataset_inputs == []


def test_the_description_holds_the_last_scores(written, make_run, event):
    run = make_run(event.score(0, 0.25), event.score(2, 0.5), event.score(2, 0.75, "pass@4"))
    stored = written(run)
    assert stored.data.tags["task"] == "test"
    assert stored.data.tags["mlflow.note.content"].splitlines() == [
        "`lab run plugin=toy method=plain seed=0`",
        "",
        "| task | metric | value | step |",
        "|---|---|---:|---:|",
        "| test | accuracy | 0.5 | 2 |",
        "| test | pass@4 | 0.75 | 2 |",
        "",
        f"All settings: `lab runs show {run.id}`. Intervals over seeds: `lab compare --group g`.",
    ]


def test_the_description_is_renewed_until_a_user_writes_another(mirror, written, make_run, event):
    run = make_run(event.score(0, 0.25), state="running")
    first = written(run)
    with open(run.path / "events.jsonl", "a") as out:
        out.write(json.dumps(event.score(2, 0.5)) + "\n")
    end(run, "preempted")
    assert "| test | accuracy | 0.5 | 2 |" in written(run).data.tags["mlflow.note.content"]
    mirror.client().set_tag(first.info.run_id, "mlflow.note.content", "mine")
    end(run)
    assert written(run).data.tags["mlflow.note.content"] == "mine"
    mirror.update(run, afresh=True)
    assert only(mirror).data.tags["mlflow.note.content"] == "mine"


def write_completions(run: RunDir, name: str, *lines: object) -> None:
    folder = run.artifacts / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def test_completions_are_a_table_of_bounded_length(mirror, written, make_run, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mirror.where)
    run = make_run()
    prompt = [{"role": "system", "content": "think"}, {"role": "user", "content": "1 + 1?"}]
    rows = [{"completion": "2", "id": f"p{i}", "prompt": prompt, "reward": 1.0} for i in range(60)]
    write_completions(run, "completions/in_domain.jsonl", *rows, "no object")
    write_completions(run, "verbalization/completions/ood.jsonl", {"completion": "x" * 5000})
    stored = written(run)
    tables = json.loads(stored.data.tags["mlflow.loggedArtifacts"])
    paths = ["completions/in_domain.json", "verbalization/completions/ood.json"]
    assert tables == [{"path": path, "type": "table"} for path in paths]
    run_id, experiment = stored.info.run_id, stored.info.experiment_id
    table = mirror.client().load_table(experiment, paths[0], run_ids=[run_id])
    assert table.columns.tolist() == ["id", "completion", "reward", "prompt"]
    assert table.iloc[0].tolist() == ["p0", 2, 1.0, "think\n\n1 + 1?"]
    assert len(table) == 50
    long = json.loads(Path(mirror.client().download_artifacts(run_id, paths[1])).read_text())
    assert long["data"] == [["x" * 4000 + "..."]]


def test_pages_are_artifacts(mirror, written, make_run):
    run = make_run()
    (run.artifacts / "asymmetry.html").write_text("<p>one page")
    (run.artifacts / "model.safetensors").write_bytes(b"large")
    listed = mirror.client().list_artifacts(written(run).info.run_id)
    assert [item.path for item in listed] == ["asymmetry.html"]


def to_the_earlier_layout(home: Path, plugin: str = "toy") -> None:
    """The store as versions with one experiment for each plugin wrote it."""
    folder = (home / "mlflow-artifacts" / plugin).as_uri()
    with sqlite3.connect(home / "mlflow.db") as store:
        store.execute(
            "update experiments set name = ?, artifact_location = ? where name = 'labrun'",
            (plugin, folder),
        )
        store.execute("delete from experiment_tags")
        for table in ("metrics", "latest_metrics"):
            store.execute(f"update {table} set key = replace(key, 'train/', '')")
        marks = "update tags set value = json_remove(value, '$.layout') where key = 'labrun.mark'"
        store.execute(marks)
    store.close()


def losses(mirror) -> dict[str, list[tuple[int, float]]]:
    """Metric -> its points, of the only run in the experiment of all runs."""
    run = only(mirror)
    found = {}
    for key in run.data.metrics:
        history = mirror.client().get_metric_history(run.info.run_id, key)
        found[key] = sorted((point.step, point.value) for point in history)
    return found


def test_reindex_moves_runs_of_the_earlier_layout_and_doubles_none(mirror, make_run, event):
    run = make_run(event.metrics(1, loss=3.0), event.metrics(2, loss=2.0))
    mirror.update(run)
    before = only(mirror).info.run_id
    to_the_earlier_layout(mirror.home)
    mirror.client().set_tag(before, "mlflow.note.content", "mine")
    with mirror.opened() as store:
        assert store.num_earlier() == 1
    assert reindex(mirror).written == 1
    assert only(mirror).info.run_id == before
    assert only(mirror).data.tags["mlflow.note.content"] == "mine"
    assert losses(mirror) == {"train/loss": [(1, 3.0), (2, 2.0)]}
    names = [found.name for found in mirror.client().search_experiments()]
    assert sorted(names) == ["Default", "labrun"]
    with mirror.opened() as store:
        assert store.num_earlier() == 0


def test_a_run_of_the_earlier_layout_that_goes_on_has_one_name_a_metric(mirror, make_run, event):
    run = make_run(event.metrics(1, loss=3.0), state="preempted")
    mirror.update(run)
    to_the_earlier_layout(mirror.home)
    with open(run.path / "events.jsonl", "a") as out:
        out.write(json.dumps(event.metrics(2, loss=2.0)) + "\n")
    mirror.update(run)
    assert losses(mirror) == {"train/loss": [(1, 3.0), (2, 2.0)]}


def test_a_client_moves_a_run_of_the_earlier_layout(mirror, make_run, event):
    run = make_run(event.metrics(1, loss=3.0))
    mirror.update(run)
    to_the_earlier_layout(mirror.home)
    Server(mirror.home, mirror.where, mirror.client(), folder=mirror.home).update(run)
    assert losses(mirror) == {"train/loss": [(1, 3.0)]}
    client = mirror.client()
    earlier = client.get_experiment_by_name("toy").experiment_id
    assert client.search_runs([earlier]) == []


def test_times_keep_their_names_and_scores_stand_under_eval(mirror, make_run, event):
    run = make_run(event.metrics(1, **{"time/step": 0.5, "cn-2/loss": 1.0}), event.score(1, 0.5))
    mirror.update(run)
    assert losses(mirror) == {
        "time/step": [(1, 0.5)],
        "train/cn-2/loss": [(1, 1.0)],
        "eval/test/accuracy": [(1, 0.5)],
    }


def test_a_run_removed_from_the_store_leaves_no_input(mirror, make_run):
    run = make_run()
    (run.path / "data.json").write_text('{"fingerprint": "ab"}')
    mirror.update(run)
    stored = only(mirror).info.run_id
    with mirror.opened() as store:
        store.remove([stored])
    with sqlite3.connect(mirror.path) as database:
        left = [database.execute(f"select * from {t}").fetchall() for t in ("inputs", "input_tags")]
    database.close()
    assert left == [[], []]


def test_the_name_and_tags_that_a_user_gives_are_shown_until_they_are_taken_away(
    written, make_run, event
):
    run = make_run(event.score(3, 0.5), method="rlrt", seed=2)
    assert written(run).info.run_name == "rlrt seed 2"
    notes.change(run.path, name="the best")
    notes.tag(run.path, add=["good", "table"])
    stored = written(run)
    assert (stored.info.run_name, stored.data.tags["tags"]) == ("the best", "good, table")
    assert stored.data.tags["mlflow.runName"] == "the best"
    notes.change(run.path, name="")
    notes.tag(run.path, drop=["good", "table"])
    stored = written(run)
    assert stored.info.run_name == "rlrt seed 2"
    assert "tags" not in stored.data.tags


def test_a_name_that_was_given_in_mlflow_stays(mirror, written, make_run, event):
    run = make_run(event.score(3, 0.5))
    written(run)
    mirror.client().update_run(only(mirror).info.run_id, name="by hand")
    end(run)
    assert written(run).info.run_name == "by hand"
    notes.tag(run.path, add=["good"])
    stored = written(run)
    assert (stored.info.run_name, stored.data.tags["tags"]) == ("by hand", "good")


def test_the_next_look_mirrors_a_tag_and_then_reads_nothing(mirror, make_run, event, monkeypatch):
    run = make_run(event.score(3, 0.5))
    catch_up(mirror.home)
    notes.tag(run.path, add=["good"])
    catch_up(mirror.home)
    assert only(mirror).data.tags["tags"] == "good"
    monkeypatch.setattr(Mirror, "update", lambda *_: pytest.fail("nothing is new"))
    catch_up(mirror.home)


def test_reindex_writes_the_name_and_the_tags(mirror, make_run, event):
    run = make_run(event.score(3, 0.5))
    notes.change(run.path, name="the best", tags=("good",))
    reindex(mirror)
    assert (only(mirror).info.run_name, only(mirror).data.tags["tags"]) == ("the best", "good")
    notes.change(run.path, name="", tags=())
    reindex(mirror)
    assert (only(mirror).info.run_name, "tags" in only(mirror).data.tags) == ("plain seed 0", False)
