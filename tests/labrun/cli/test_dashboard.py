"""Which page `lab ui` opens."""

import pytest
from labrun.cli import dashboard
from labrun.errors import LabError
from labrun.results.store import Mirror, ensure_sqlite
from labrun.runs import run_index


@pytest.fixture
def home(tmp_path):
    ensure_sqlite(tmp_path / "home" / "mlflow.db")
    return tmp_path / "home"


def page(home) -> str:
    return dashboard.page(home, run_index.entries(home))


def test_a_home_without_runs_opens_mlflow_s_first_page(home, capsys):
    assert page(home) == ""
    assert capsys.readouterr().out == ""


def test_the_newest_group_is_opened(home, make_run, event):
    Mirror(home).update(make_run(event.metrics(1, loss=1.0)))
    assert page(home) == (
        "/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=labrun"
        "&compareRunsMode=CHART"
    )


def test_runs_that_a_server_stores_are_named_with_its_address(home, make_run, capsys):
    make_run(group="here")
    make_run(group="there", uri="http://127.0.0.1:9")
    assert page(home).startswith("/#/experiments/")
    said = "lab: the runs of group there are stored at http://127.0.0.1:9\n"
    assert capsys.readouterr().out == said


def test_a_store_that_cannot_be_opened_is_one_line(home):
    (home / "mlflow.db-wal").mkdir()
    with pytest.raises(LabError, match=r"mlflow\.db cannot be used: unable to open database"):
        page(home)


def test_a_group_that_is_not_there_is_refused(lab_here, home, make_run):
    make_run(group="mine")
    refused = lab_here("ui", "--group", "mime")
    assert refused.returncode == 2
    assert refused.stderr.startswith("lab: no group 'mime'")
    assert refused.stderr.count("\n") == 1
