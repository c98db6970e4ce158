import json
import socket
import subprocess
import sys
from importlib.metadata import version

import pytest
from labrun.cli import packages
from labrun.cli.main import main

HEAVY = {
    "torch",
    "transformers",
    "trl",
    "mlflow",
    "hydra",
    "omegaconf",
    "pandas",
    "matplotlib",
    "lab_llm",
    "lab_rlrt",
    "example_plugin",
}
CALL = """
import json, sys
from labrun.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


@pytest.mark.usefixtures("example")
@pytest.mark.parametrize("words", [["--help"], ["plugins"], ["run", "--help"]])
def test_start_imports_no_heavy_library_and_no_plugin(words, home):
    called = subprocess.run([sys.executable, "-c", CALL, *words], capture_output=True, text=True)
    assert called.returncode == 0, called.stderr
    imported = set(json.loads(called.stdout.splitlines()[-1]))
    assert imported & HEAVY == set()
    assert "labrun" in imported
    assert words != ["plugins"] or imported & {"typer", "pydantic"} == set()


ENDS = """
import sys
from labrun.cli.main import main
class Told:
    def __del__(self):
        print("taken apart")
told = Told()
told.itself = told
del told
main()
"""


def test_a_command_that_ends_does_not_take_its_modules_apart():
    """Python would look for garbage in all of them, for as long as a short command takes."""
    called = subprocess.run([sys.executable, "-c", ENDS, "plugins"], capture_output=True, text=True)
    assert called.returncode == 0, called.stderr
    assert "rlrt" in called.stdout
    assert "taken apart" not in called.stdout


@pytest.mark.usefixtures("example")
def test_the_list_of_plugins_is_the_same_with_and_without_a_parser(lab_here, capsys):
    packages.plugins()
    assert capsys.readouterr().out == lab_here("plugins").stdout != ""


def test_what_jobs_are_started_with_imports_nothing_that_only_shows_them():
    code = "import sys, labrun.launch.session; print(*sys.modules)"
    called = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    imported = {name.split(".")[0] for name in called.stdout.split()}
    assert imported & {"rich", "psutil", "matplotlib", "numpy", "sqlite3"} == set()
    assert "hydra" in imported
    assert "labrun.results.store" not in called.stdout.split()


@pytest.mark.usefixtures("example")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "seed=1"], "lab: no plugin named; write plugin=NAME, installed: "),
        (["run", "plugin=exampel"], "lab: no plugin 'exampel'; did you mean 'example'? "),
        (
            ["run", "plugin=example", "seed=0,1"],
            "lab: a value with commas is a sweep: add -m (or quote it: key='a,b')\n",
        ),
        (
            ["run", "-m", "plugin=example", "seed=0,-1"],
            "lab: seed=-1: input should be greater than or equal to 0\n",
        ),
        (
            ["run", "-m", "plugin=example", "dataset.held_out_file='',/no/such.csv"],
            "lab: dataset.held_out_file=/no/such.csv: no such file\n",
        ),
        (
            ["run", "plugin=example", "trainer.start.slop=1"],
            "lab: trainer.start.slop: allowed: slope, intercept\n",
        ),
        (["resume", "last"], "lab: no run 'last': there are none in "),
        (["compare"], "lab: there are no runs in "),
        (["runs", "show", "x"], "lab: no run 'x': there are none in "),
        (["plugins", "exampl"], "lab: no plugin 'exampl'; did you mean 'example'? "),
    ],
)
def test_bad_input_exits_2_with_one_line_and_creates_nothing(
    words, expected, home, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "argv", ["lab", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    said = capsys.readouterr()
    assert said.err.startswith(expected)
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert not home.exists()


@pytest.mark.usefixtures("example")
def test_dry_run_prints_what_is_not_at_its_default_and_starts_nothing(lab_here, home):
    words = ["-m", "plugin=example", "method=momentum", "seed=0,1", "--dry-run"]
    planned = lab_here("run", *words)
    assert planned.returncode == 0, planned.stderr
    lines = [" ".join(line.split()) for line in planned.stdout.splitlines()]
    assert lines[0] == "plan: 2 run(s) of plugin example; nothing was started"
    assert "preset method momentum" in lines
    assert "trainer component example.sgd" in lines
    assert "trainer momentum 0.9" in lines
    assert not any(line.startswith("trainer batch_size ") for line in lines)
    assert "dataset facts train 64" in lines
    assert "more settings have their defaults; --all prints them" in planned.stdout
    assert lines[-1].endswith("plugin=example method=momentum seed=1")
    assert not home.exists()


@pytest.mark.usefixtures("example")
def test_dry_run_with_all_prints_every_setting_and_cuts_no_value(lab_here, tmp_path):
    path = tmp_path / ("long" * 30 + ".csv")
    path.write_text("x,y\n0,0\n1,2\n")
    planned = lab_here("run", "plugin=example", f"held_out_file={path}", "--dry-run", "--all")
    lines = [" ".join(line.split()) for line in planned.stdout.splitlines()]
    assert f"dataset held_out_file {path}" in lines
    assert "trainer learning_rate 0.1" in lines
    assert "--all prints" not in planned.stdout


def test_runs_of_an_empty_home(lab_here, home):
    listed = lab_here("runs")
    assert (listed.returncode, listed.stdout) == (
        0,
        "no runs yet; `lab run plugin=...` makes one\n",
    )
    assert not home.exists()


@pytest.mark.usefixtures("example")
def test_runs_lists_whole_ids_with_state_step_and_group(lab_here, make_run):
    done, failed = make_run(group="a"), make_run(group="a", seed=1, state="failed")
    done.write_status(step=3)
    lines = [line.split() for line in lab_here("runs").stdout.splitlines()]
    assert [line[:4] for line in lines[1:]] == [
        [done.id, "done", "3", "a"],
        [failed.id, "failed", "0", "a"],
    ]
    assert lab_here("runs", "list", "--group", "a").returncode == 0


def test_runs_show_prints_settings_scores_and_notes(lab_here, make_run, event):
    note = {"time": 1.0, "kind": "note", "step": 0, "message": "a smaller model was used"}
    run = make_run(note, event.score(0, 0.25), event.metrics(3, loss=0.125), event.score(3, 0.75))
    (run.artifacts / "model").mkdir()
    (run.artifacts / "model" / "weights").write_text("")
    shown = lab_here("runs", "show", "last")
    assert shown.returncode == 0
    assert shown.stdout.splitlines() == [
        f"{run.id}  done  unsealed",
        "lab run plugin=toy method=plain seed=0",
        "  test/accuracy  step 0: 0.250  step 3: 0.750",
        "  loss  last 0.125 at step 3",
        "  note: a smaller model was used",
        "  checkpoints: none",
        f"  files in {run.path}: artifacts/model/weights",
    ]


def test_done_run_cannot_be_resumed(lab_here, make_run):
    run = make_run()
    refused = lab_here("resume", run.id)
    assert refused.returncode == 2
    assert refused.stderr == (
        f"lab: run {run.id} is done and cannot be resumed; `lab runs show` has its results\n"
    )


def test_edited_run_is_refused_by_resume(lab_here, make_run):
    run = make_run(state="failed")
    spec = (run.path / "spec.json").read_text()
    (run.path / "spec.json").write_text(spec.replace('"max_steps": 3', '"max_steps": 4'))
    refused = lab_here("resume", run.id)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "spec.json was edited; start a new run instead" in refused.stderr


@pytest.mark.usefixtures("example")
def test_doctor_names_packages_plugins_devices_and_killed_runs(lab_here, make_run):
    run = make_run(state="running")
    run.write_status(pid=2**22 + 1, host=socket.gethostname(), started=1.0)
    checked = lab_here("doctor")
    assert checked.returncode == 0, checked.stdout
    rows = [line.split() for line in checked.stdout.splitlines()]
    assert ["ok", "plugin", "example", "labrun-example", "1.2.0"] in rows
    subjects = {row[1] for row in rows}
    assert {"python", "torch", "mlflow", "cpu", "memory", "disk"} <= subjects
    assert f"{run.id} was killed; `lab resume {run.id}` goes on" in checked.stdout


def test_doctor_names_runs_that_were_killed_before_they_started(lab_here, make_run):
    waiting, again = make_run(state="queued"), make_run(seed=1, state="queued")
    for run in (waiting, again):
        run.write_status(process="4194305@1@boot", host=socket.gethostname())
    (waiting.path / "events.jsonl").unlink()
    checked = lab_here("doctor")
    words = f"was not started, its command is gone; `lab resume {waiting.id}` starts it"
    assert f"{waiting.id} {words}" in checked.stdout
    assert f"{again.id} was killed; `lab resume {again.id}` goes on" in checked.stdout


def test_doctor_exits_2_where_a_plugin_is_broken(lab_here, tmp_path, monkeypatch):
    info = tmp_path / "site" / "lab_brittle-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-brittle\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[labrun]\nbrittle = no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    checked = lab_here("doctor")
    assert checked.returncode == 2
    (line,) = [line for line in checked.stdout.splitlines() if "plugin brittle" in line]
    assert line.startswith("bad")
    assert "No module named 'no_such_module'" in line


def test_time_left_starts_anew_where_another_stage_counts_other_steps(monkeypatch):
    from types import SimpleNamespace

    from labrun.launch.display import _Lines

    lines = _Lines(SimpleNamespace(print=lambda *_, **__: None), period_s=0)

    def left(clock: float, step: int, total: int) -> str:
        run = SimpleNamespace(id="one")
        return lines._eta(SimpleNamespace(run=run, step=step, total=total), clock)

    assert left(0, 100, 2000) == ""
    assert left(10, 1100, 2000) == "eta 9s"
    assert left(20, 10, 50) == ""  # the data are made, training begins
    assert left(30, 20, 50) == "eta 30s"


@pytest.mark.parametrize("module", ["labrun", "labrun.cli"])
def test_the_version_is_printed_by_either_module(module):
    command = [sys.executable, "-m", module, "--version"]
    assert subprocess.run(command, capture_output=True, text=True).stdout == (
        f"lab {version('labrun')}\n"
    )
