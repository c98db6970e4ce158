"""A sqlite store on a network file system is written by one machine."""

import socket
import sqlite3

import pytest
from labrun.errors import LabError
from labrun.results.store import LiveMirror, Mirror, catch_up, owner, refuse_elsewhere, take_over


@pytest.fixture
def on_network(monkeypatch):
    """`on_network(name)`: this machine is `name`, and all its folders are on the network."""

    def become(name: str) -> None:
        monkeypatch.setattr(owner, "is_on_network", lambda _: True)
        monkeypatch.setattr(socket, "gethostname", lambda: name)

    return become


def stored(path) -> set[str]:
    with sqlite3.connect(path) as database:
        return {
            name for (name,) in database.execute("select value from tags where key = 'labrun.id'")
        }


def test_the_first_machine_that_writes_the_store_is_its_only_writer(
    on_network, make_run, event, tmp_path, capsys
):
    home = tmp_path / "home"
    first = make_run(event.attempt(0), event.metrics(1, loss=1.0), seed=1)
    on_network("one")
    Mirror(home).update(first)
    second = make_run(event.attempt(0), event.metrics(1, loss=1.0), seed=2)
    on_network("two")
    LiveMirror(home, [second]).flush()
    said = capsys.readouterr().err
    assert "lies on a network file system and one writes it; `lab runs` there" in said
    catch_up(home)
    assert stored(home / "mlflow.db") == {first.id}
    on_network("one")
    catch_up(home)
    assert stored(home / "mlflow.db") == {first.id, second.id}


def test_reindex_makes_another_machine_the_writer(on_network, make_run, tmp_path):
    path = tmp_path / "home" / "mlflow.db"
    make_run()
    on_network("one")
    refuse_elsewhere(path)
    on_network("two")
    with pytest.raises(LabError, match="and one writes it"):
        refuse_elsewhere(path)
    take_over(path)
    refuse_elsewhere(path)


def test_on_a_disk_of_the_machine_nobody_owns_the_store(make_run, tmp_path):
    make_run()
    refuse_elsewhere(tmp_path / "home" / "mlflow.db")
    assert not (tmp_path / "home" / owner.FILE).exists()
