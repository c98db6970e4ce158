"""The lab from Python gives the runs, tables and errors of the command line."""

import subprocess
import sys
import threading

import labrun
import pytest
from labrun.api import Picture


@pytest.fixture
def at_swept(swept, example, monkeypatch):
    monkeypatch.setenv("LABRUN_HOME", str(swept))


def test_importing_labrun_imports_no_heavy_library():
    heavy = ("pandas", "rich", "pydantic", "matplotlib", "hydra", "mlflow", "torch", "labrun.api")
    heavy = (*heavy, "pluggy", "labrun.contract")
    code = f"import labrun, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_every_public_name_is_there_in_whatever_order_it_is_asked_for():
    code = "import labrun; print([n for n in {} if getattr(labrun, n).__name__ != n])"
    names = [name for name in labrun.__all__ if name not in ("API_VERSION", "hookimpl", "runs")]
    for order in (names, names[::-1]):
        done = subprocess.run(
            [sys.executable, "-c", code.format(order)], capture_output=True, text=True
        )
        assert (done.stdout, done.stderr) == ("[]\n", "")
    assert labrun.API_VERSION == 1


def test_the_room_runs_is_also_the_function_of_this_name(at_swept):
    from labrun.runs import run_dir

    assert labrun.runs.run_dir is run_dir
    assert len(labrun.runs()) == 6


def test_an_unknown_name_of_labrun_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'rnus'"):
        labrun.rnus  # noqa: B018


def test_runs_are_filtered_and_sorted(at_swept):
    found = labrun.runs("method=plain seed!=1", sort="-seed")
    assert [run.experiment().run.seed for run in found] == [2, 0]
    assert len(found[:1]) == 1
    assert found[0].status().state == "done"
    assert len(labrun.runs(group="sweep")) == 6
    with pytest.raises(labrun.LabError, match="no group 'sweeps'"):
        labrun.runs(group="sweeps")


def test_scores_and_series_are_frames(at_swept):
    found = labrun.runs("seed=0")
    scores = found.scores()
    assert len(scores) == 4  # two runs, before and after training
    assert set(scores["step"]) == {0, 10}
    assert set(scores["metric"]) == {"mse"}
    series = found.series(["loss"])
    assert list(series.columns) == ["run", "plugin", "method", "seed", "metric", "step", "value"]
    assert len(series) == 20
    assert len(found.to_frame()) == 2
    with pytest.raises(labrun.LabError, match="no metric 'los'"):
        found.series(["los"])
    with pytest.raises(labrun.LabError, match=r"write a list of metrics, \['loss'\]"):
        found.series("loss")


def test_a_comparison_is_a_frame_a_page_and_a_figure(at_swept):
    found = labrun.compare(group="sweep", baseline="plain")
    frame = found.to_frame()
    assert set(frame["arm"]) == {"start", "plain", "momentum"}
    expected = labrun.runs("method=plain").scores().query("step == 10")["value"].mean()
    plain = frame[frame["arm"] == "plain"]["mean"]
    assert list(plain) == pytest.approx([expected])
    shown = found._repr_html_()
    assert shown.startswith("<table><thead><tr><th>task</th>")
    assert "mean over 3 seeds; ±: half the 95% t-interval over seeds" in shown
    assert list(found.differences()["arm"]) == ["momentum"]
    assert found.curves().png.startswith(b"\x89PNG")
    with pytest.raises(labrun.LabError, match="no metric 'los'"):
        found.curves("los")
    with pytest.raises(labrun.LabError, match="smooth=0: 1 or more"):
        found.curves("loss", smooth=0)
    with pytest.raises(labrun.LabError, match="no baseline"):
        labrun.compare(group="sweep").differences()


def test_a_picture_is_saved_as_png_and_as_nothing_else(tmp_path):
    picture = Picture(b"\x89PNG")
    assert picture.save(tmp_path / "a.png").read_bytes() == b"\x89PNG"
    with pytest.raises(
        labrun.LabError, match=r"a\.pdf: a picture is a PNG; `lab compare --figure`"
    ):
        picture.save(tmp_path / "a.pdf")
    with pytest.raises(labrun.LabError, match=r"cannot write .*: No such file or directory"):
        picture.save(tmp_path / "no" / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_comparison_takes_runs_by_name(at_swept):
    found = labrun.runs("seed=0")
    assert len(labrun.compare(found[0]).arms) == 1
    assert len(labrun.compare([run.id for run in found]).arms) == 2
    assert len(labrun.compare(found).arms) == 2
    with pytest.raises(labrun.LabError, match="not both"):
        labrun.compare(found, group="sweep")


def test_a_run_in_another_thread_ends_done(home, example):
    """Python lets no thread but the first have signals."""
    ended = []
    words = ["plugin=example", "max_steps=2", "seed=3"]
    thread = threading.Thread(target=lambda: ended.append(labrun.run(words, quiet=True)))
    thread.start()
    thread.join()
    (made,) = ended
    assert [run.status().state for run in made] == ["done"]
    assert labrun.runs()[0].id == made[0].id


def test_a_failed_run_raises_its_line_and_stays(home, example):
    words = ["plugin=example", "trouble.error=TypeError"]
    with pytest.raises(labrun.LabError, match="ended as failed: TypeError: error that a test"):
        labrun.run(words, quiet=True)
    assert len(labrun.runs("state=failed")) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("plugin=example", "write a list of words"),
        ({"plugin": "example"}, "write each word as a text"),
        (["plugin=example", 3], "write each word as a text"),
        (["plugin=example", "seed=0,1"], "say sweep=True"),
        (["plugin=example", "max_stepz=1"], "did you mean trainer.max_steps"),
    ],
)
def test_words_that_are_wrong_start_nothing(home, example, words, told):
    with pytest.raises(labrun.LabError, match=told):
        labrun.run(words)
    assert not home.exists()
