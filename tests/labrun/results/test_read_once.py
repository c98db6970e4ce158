"""A comparison reads each file of a run once."""

import sys
from collections import Counter
from pathlib import Path

import pytest
from labrun.cli.under_way import print_status
from labrun.results import report
from labrun.runs import index_file, run_index
from labrun.runs.record import RunRecord, records
from labrun.runs.run_dir import RunDir
from labrun.runs.seals import DamagedError
from rich.console import Console

opened: Counter[str] = Counter()
watching: list[Path] = []


def watch(event: str, args: tuple[object, ...]) -> None:
    """An audit hook, which cannot be taken away again: it counts below one folder, or nothing."""
    # Opening with an opener is told twice, the second time without a mode.
    if event != "open" or args[1] is None:
        return
    if watching and str(args[0]).startswith(str(watching[0])):
        opened["/".join(Path(str(args[0])).parts[-2:])] += 1


sys.addaudithook(watch)


@pytest.fixture
def home(tmp_path):
    opened.clear()
    watching[:] = [tmp_path]
    yield tmp_path / "home"
    watching.clear()


def test_a_comparison_reads_each_spec_and_each_event_file_once(make_run, event, home):
    events = [event.metrics(1, loss=1.0), event.metrics(2, loss=0.5), event.score(2, 0.25)]
    runs = [make_run(*events, seed=s, method=m) for m in ("plain", "other") for s in range(10)]
    run_index.entries(home)  # the lists of runs keep an index of their own
    opened.clear()
    report.compare(runs, home, Console(quiet=True), baseline="plain", metrics=["loss"])
    for run in runs:
        assert opened[f"{run.id}/spec.json"] == 1
        assert opened[f"{run.id}/events.jsonl"] == 1


def test_the_list_of_runs_under_way_reads_no_status_that_the_index_knows(make_run, home, capsys):
    runs = [make_run(seed=seed, state="queued") for seed in range(index_file.WORTH_WRITING)]
    for run in runs:
        run.write_status(host="elsewhere", process="7@1@x")
    run_index.entries(home)
    opened.clear()
    again = run_index.entries(home)
    print_status(again, Console(highlight=False, markup=False))
    assert [name for name in opened if name.endswith("status.json")] == []
    assert capsys.readouterr().out.count("pid 7 on elsewhere") == len(runs)
    assert [entry.recorded.status() for entry in again] == [run.recorded_status() for run in runs]


def test_a_record_answers_like_its_run_directory(make_run, event):
    run = make_run(event.metrics(1, loss=1.0), event.score(1, 0.5))
    record = RunRecord(run.path)
    for question in ("experiment", "series", "scores", "status", "data_fingerprint"):
        assert getattr(record, question)() == getattr(run, question)()
    assert record.events_fault() is None


def test_a_record_stays_what_it_was_when_it_was_read(make_run, event):
    run = make_run(event.metrics(1, loss=1.0))
    record = RunRecord(run.path)
    before = record.series()
    (run.path / "events.jsonl").write_text("")
    assert record.series() == before == {"loss": {1: 1.0}}
    assert records([record])[0] is record
    assert RunDir(run.path).series() == {}


def test_damaged_events_give_no_series(make_run, event):
    run = make_run(event.metrics(1, loss=1.0))
    (run.path / "events.jsonl").unlink()
    (run.path / "events.jsonl").mkdir()
    record = RunRecord(run.path)
    assert record.events_fault()
    with pytest.raises(DamagedError):
        record.series()
