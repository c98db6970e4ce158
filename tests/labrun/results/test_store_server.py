"""Runs in a store that MLflow's client writes: here, tables that stand in a file."""

import json
import socket
import subprocess
import sys

import pytest
from labrun.results.store import Mirror, __main__, catch_up, ensure_sqlite
from labrun.results.store.server import Server, place_in

# MLflow and SQLAlchemy use deprecated features of each other and of their dependencies.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def server(tmp_path) -> Server:
    home = tmp_path / "home"
    ensure_sqlite(home / "mlflow.db")
    mirror = Mirror(home)
    return Server(home, mirror.where, mirror.client(), folder=home)


def append(run, *events):
    with open(run.path / "events.jsonl", "a") as out:
        out.writelines(json.dumps(event) + "\n" for event in events)


def losses(server):
    (run,) = server.client.search_runs(["1"])
    history = server.client.get_metric_history(run.info.run_id, "train/loss")
    return sorted((point.step, point.value) for point in history)


def test_a_growing_run_gets_only_what_is_new(server, make_run, event):
    run = make_run(event.attempt(0), event.metrics(1, loss=1.0), state="preempted")
    first = server.update(run)
    append(run, event.metrics(2, loss=2.0))
    assert server.update(run) == first
    assert losses(server) == [(1, 1.0), (2, 2.0)]


def test_replayed_and_repeated_steps_are_there_once(server, make_run, event):
    run = make_run(event.attempt(0), *(event.metrics(s, loss=1.0 * s) for s in (1, 2, 3)))
    server.update(run)
    append(run, event.attempt(1, resumed_from=1), event.metrics(2, loss=20.0))
    server.update(run)
    assert losses(server) == [(1, 1.0), (2, 20.0)]
    append(run, event.metrics(2, loss=21.0) | {"time": 77.0})
    server.update(run)
    assert losses(server) == [(1, 1.0), (2, 21.0)]
    append(run, event.metrics(0, loss=0.5))
    server.update(run)
    assert losses(server) == [(0, 0.5), (1, 1.0), (2, 21.0)]


def test_points_written_just_before_a_kill_are_not_written_again(server, make_run, event):
    run = make_run(event.attempt(0), event.metrics(1, loss=1.0), state="killed")
    server.update(run)
    append(run, event.metrics(2, loss=2.0))
    before = (run.path / "mlflow.json").read_text()
    first = server.update(run)
    noted = json.loads(before) | {"last": {"train/loss": 2}}
    (run.path / "mlflow.json").write_text(json.dumps(noted))
    assert server.update(run) == first
    assert losses(server) == [(1, 1.0), (2, 2.0)]
    append(run, event.attempt(1, resumed_from=1), event.metrics(2, loss=9.0) | {"time": 9.0})
    (run.path / "mlflow.json").write_text(json.dumps(noted))
    server.update(run)
    assert losses(server) == [(1, 1.0), (2, 9.0)]


def test_a_deleted_experiment_is_brought_back(server, make_run, event):
    run = make_run(event.metrics(1, loss=1.0))
    server.update(run)
    server.client.delete_experiment("1")
    server.close()
    server.update(run)
    assert losses(server) == [(1, 1.0)]


def test_a_mark_of_an_earlier_version_is_no_mark(server, make_run):
    run = make_run()
    earlier = {"run": "x", "uri": server.uri, "attempts": 1, "step": 3}
    (run.path / "mlflow.json").write_text(json.dumps(earlier))
    assert place_in(run, server.uri) is None
    server.update(run)
    assert place_in(run, server.uri).mark.state == "done"


def test_a_run_with_more_settings_than_mlflow_takes_at_once_is_stored(server, make_run):
    server.update(make_run(settings={f"key{i}": i for i in range(250)}))
    (run,) = server.client.search_runs(["1"])
    assert run.data.params["trainer.key249"] == "249"


@pytest.fixture
def started(monkeypatch):
    """The words of the processes that are started meanwhile; none of them runs."""
    words = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **_: words.append(command))
    return words


def test_a_server_that_came_back_gets_what_it_lacks(server, started, make_run, event, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setattr("labrun.results.store.mirror._mlflow_client", lambda _: server.client)
        home = make_run(event.metrics(1, loss=1.0), uri=uri).path.parent
        catch_up(home)
        assert started == [[sys.executable, "-m", "labrun.results.store", str(home), uri]]
        __main__.main(home, uri)
        assert losses(server) == [(1, 1.0)]
        catch_up(home)
        assert len(started) == 1


def test_a_server_that_is_away_costs_no_process(started, make_run, event):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    run = make_run(event.metrics(1, loss=1.0), uri=f"http://127.0.0.1:{port}")
    catch_up(run.path.parent)
    assert started == []
