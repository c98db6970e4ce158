"""Each point reaches a sink once, whatever attempts, commands and resumes there were."""

import json
import math

import pytest
from labrun.errors import LabError
from labrun.experiment import RunConfig, TrackingConfig
from labrun.results import sinks
from labrun.results.sinks import LiveSinks
from labrun.runs import run_index
from labrun.runs.run_dir import hash_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def scalars(run) -> dict[str, list[tuple[int, float]]]:
    """Tag -> (step, value) of every point, as TensorBoard reads the run's folder."""
    read = EventAccumulator(str(run.path / "tensorboard"), size_guidance={"scalars": 0})
    read.Reload()
    return {
        tag: [(event.step, event.value) for event in read.Scalars(tag)]
        for tag in read.Tags()["scalars"]
    }


@pytest.fixture
def make(make_run):
    """`make(*events, also="tensorboard")`: a run that wants this sink."""

    def make(*events, also: str = "tensorboard"):
        run = make_run(*events)
        spec = json.loads((run.path / "spec.json").read_text())
        spec["experiment"]["run"]["tracking"]["also"] = [also]
        spec["config_hash"] = hash_of(spec["experiment"])
        (run.path / "spec.json").write_text(json.dumps(spec))
        return run

    return make


def append(run, *events) -> None:
    with open(run.path / "events.jsonl", "a") as lines:
        lines.writelines(json.dumps(event) + "\n" for event in events)


def write(live: LiveSinks) -> None:
    """One look, now and in this thread."""
    live._write(last=False)


def test_metrics_and_scores_are_read_back_by_tensorboard(make, event):
    run = make(
        event.attempt(0),
        event.metrics(1, loss=0.5, **{"time/step": 2.0}),
        event.score(1, 0.25),
        event.metrics(2, loss=math.inf),
    )
    live = LiveSinks([run])
    live.close()
    assert scalars(run) == {
        "loss": [(1, 0.5), (2, math.inf)],
        "time/step": [(1, 2.0)],
        "test/accuracy": [(1, 0.25)],
    }


def test_a_second_look_adds_only_what_is_new(make, event):
    run = make(event.attempt(0), event.metrics(1, loss=0.5))
    live = LiveSinks([run])
    write(live)
    append(run, event.metrics(2, loss=0.25))
    with open(run.path / "events.jsonl", "a") as lines:
        lines.write('{"kind": "metrics", "st')  # still being written
    write(live)
    live.close()
    assert scalars(run) == {"loss": [(1, 0.5), (2, 0.25)]}


def test_steps_that_another_attempt_replayed_stand_once(make, event):
    run = make(event.attempt(0), *(event.metrics(step, loss=1.0) for step in (1, 2, 3)))
    live = LiveSinks([run])
    write(live)
    append(run, event.attempt(1, 1), event.metrics(2, loss=2.0))
    write(live)
    append(run, event.metrics(3, loss=3.0), event.metrics(4, loss=4.0))
    live.close()
    assert scalars(run) == {"loss": [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]}


def test_a_later_command_doubles_nothing(make, event):
    run = make(event.attempt(0), event.metrics(1, loss=0.5), event.metrics(2, loss=0.5))
    write(LiveSinks([run]))  # killed: it is never closed
    append(run, event.attempt(1, 1), event.metrics(2, loss=0.5), event.metrics(3, loss=0.25))
    LiveSinks([run]).close()
    assert scalars(run) == {"loss": [(1, 0.5), (2, 0.5), (3, 0.25)]}


def test_a_sink_that_fails_is_named_once_and_harms_no_other(make, event, capsys):
    bad, good = (make(event.attempt(0), event.metrics(1, loss=0.5)) for _ in range(2))
    (bad.path / "tensorboard").write_text("a file where the folder should be")
    live = LiveSinks([bad, good])
    write(live)
    write(live)
    live.close()
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"lab: tensorboard of run {bad.id} is written no more: ")
    assert said[0].endswith("; the runs go on")
    assert scalars(good) == {"loss": [(1, 0.5)]}


def test_runs_that_ask_for_none_have_none(make_run, event):
    run = make_run(event.attempt(0), event.metrics(1, loss=0.5))
    live = LiveSinks([run])
    live.tick()
    live.close()
    assert not (run.path / "tensorboard").exists()


def test_a_sink_whose_package_is_missing_is_refused_before_anything_starts(monkeypatch):
    monkeypatch.setitem(sinks.KINDS, "wandb", sinks.Kind("labrun.nothing", "no_such_package"))
    with pytest.raises(LabError, match=r"pip install 'labrun\[wandb\]'"):
        sinks.check(RunConfig(tracking=TrackingConfig(also=("wandb",))))
    sinks.check(RunConfig(tracking=TrackingConfig(also=("tensorboard",))))


def test_a_run_that_crashed_and_went_on_has_each_point_once(lab_here, home, example):
    words = ("plugin=example", "max_steps=4", "save_every=2", "crash_at_step=3")
    done = lab_here("run", *words, "tracking.also=[tensorboard]")
    assert done.returncode == 0, done.stderr
    run = run_index.find("last", home)
    assert {tag: [step for step, _ in points] for tag, points in scalars(run).items()} == {
        "held_out/mse": [0, 4],
        "loss": [1, 2, 3, 4],
    }


def test_an_unknown_sink_is_refused(lab_here, example):
    done = lab_here("run", "plugin=example", "tracking.also=[tensorbord]", "--dry-run")
    assert done.returncode == 2
    assert "tensorboard" in done.stderr
