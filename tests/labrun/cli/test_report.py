"""What the commands say at their end, and where they write tables."""

import json

import pytest
import typer
from labrun.attempts import failures
from labrun.cli import reports as report
from labrun.launch.local import StoppedError
from labrun.plugins import discovery as plugins
from labrun.runs import run_dir, run_index
from rich.console import Console

WARNING = "\x1b[33m"
HOOKS = """
import sys
from labrun import PluginInfo, hookimpl

def raises(arms, folder):
    raise ValueError("no such colour")

def exits(arms, folder):
    sys.exit(3)

def draws(arms, folder):
    (folder / "own.png").write_text("")
    return [folder / "own.png"]

@hookimpl
def lab_plugin():
    parts = {"trainer": "t", "dataset": "t", "evaluator": "t"}
    hooks = ("raises", "exits", "missing", "draws")
    return PluginInfo(name="hooked", summary="", components=(), defaults=parts,
                      headline=("loss",), figures=[f"hooked_plugin:{h}" for h in hooks])
"""


@pytest.fixture
def hooked(tmp_path, monkeypatch):
    """An installed plugin whose hooks fail in several ways, and then draw."""
    info = tmp_path / "site" / "hooked-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hooked\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[labrun]\nhooked = hooked_plugin\n")
    (tmp_path / "site" / "hooked_plugin.py").write_text(HOOKS)
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield
    plugins.load.cache_clear()


@pytest.fixture
def said(tmp_path):
    """`said(call)` is what the call prints to a wide console, as plain text."""

    def collect(call, **how):
        console = Console(width=200, highlight=False, markup=False, record=True, quiet=False, **how)
        with console.capture() as captured:
            call(console)
        return captured.get()

    return collect


def scored(make_run, event, *, value=0.5, **rest):
    return make_run(event.metrics(1, loss=1.0), event.score(1, value), **rest)


def warning(message):
    return {"time": 1.0, "kind": "note", "step": 1, "message": message, "warning": True}


def test_warnings_of_a_run_are_printed_once_each_in_yellow(make_run, event, tmp_path, said):
    note = {"time": 1.0, "kind": "note", "step": 0, "message": "only a note"}
    dead = make_run(warning("reward 0 everywhere"), warning("reward 0 everywhere"), note)
    printed = said(
        lambda c: report.print_warnings(dead, c), force_terminal=True, color_system="standard"
    )
    assert printed == f"{WARNING}warning  {dead.id}: reward 0 everywhere\x1b[0m\n"
    shown = said(lambda c: report.print_run(dead, c)).splitlines()
    assert shown.count("  warning: reward 0 everywhere") == 1
    assert shown.count("  note: only a note") == 1


def test_the_end_of_a_command_warns_for_each_run(make_run, event, tmp_path, said):
    runs = [make_run(event.score(1, 0.5), warning("learned nothing"), seed=s) for s in (0, 1)]
    lines = said(lambda c: report.finish(runs, tmp_path / "home", c)).splitlines()
    assert lines[-2:] == [f"warning  {run.id}: learned nothing" for run in runs]


def test_a_table_that_cannot_be_written_is_one_line_and_changes_no_exit_code(
    make_run, event, tmp_path, said, capsys
):
    run = make_run(event.score(1, 0.5), warning("learned nothing"))
    (tmp_path / "home" / "compare").write_text("")
    lines = said(lambda c: report.finish([run], tmp_path / "home", c)).splitlines()
    assert lines[-1] == f"warning  {run.id}: learned nothing"
    assert capsys.readouterr().err == (
        f"lab: the results cannot be shown now: cannot write to {tmp_path}/home/compare/g: "
        "Not a directory; choose --out; `lab compare` makes them again\n"
    )


def test_a_failure_shows_the_end_of_a_log_that_is_read_from_its_end(make_run, tmp_path, said):
    run = make_run(state="failed")
    with open(run.path / "stdio.log", "wb") as log:
        log.truncate(1 << 40)  # a sparse TiB
        log.seek(0, 2)
        log.write(b"\nlast \xff words\n")

    def finish(console):
        with pytest.raises(typer.Exit):
            report.finish([run], tmp_path / "home", console)

    assert "  | last \ufffd words" in said(finish).splitlines()


def test_a_failed_run_s_warnings_are_printed_too(make_run, tmp_path, said):
    run = make_run(warning("bad sign"), state="failed")

    def finish(console):
        with pytest.raises(typer.Exit):
            report.finish([run], tmp_path / "home", console)

    assert f"warning  {run.id}: bad sign" in said(finish)


def test_the_end_of_a_resume_prints_and_saves_the_whole_group(make_run, event, tmp_path, said):
    home = tmp_path / "home"
    done = scored(make_run, event, seed=0, group="g")
    resumed = scored(make_run, event, seed=1, group="g", value=0.7)
    other = scored(make_run, event, seed=0, group="other")
    printed = said(lambda c: report.finish([resumed], home, c))
    assert "mean over 2 seeds" in printed
    assert f"table    {home / 'compare' / 'g' / 'scores.csv'}" in printed
    rows = (home / "compare" / "g" / "scores.csv").read_text().splitlines()
    assert rows[1].split(",")[3:6] == ["0.6", rows[1].split(",")[4], "2"]
    assert not (home / "compare" / "other").exists()
    assert {done.id, other.id} < {run.id for run in run_dir.all_runs(home)}


def test_picked_runs_have_a_place_of_their_own(make_run, event, tmp_path, said):
    home = tmp_path / "home"
    first, second = (scored(make_run, event, group=g, seed=i) for i, g in enumerate("ab"))
    beside = scored(make_run, event, group="a", seed=5, value=0.9)
    said(lambda c: report.compare([first, beside], home, c))
    before = (home / "compare" / "a" / "scores.csv").read_bytes()
    said(lambda c: report.compare([first, second], home, c))
    said(lambda c: report.compare([first], home, c))
    assert (home / "compare" / "a" / "scores.csv").read_bytes() == before
    folders = sorted(path.name for path in (home / "compare").iterdir())
    assert len(folders) == 3
    assert [name.startswith("picked@") for name in folders] == [False, True, True]


def test_a_group_that_holds_a_seed_twice_shows_the_command_s_own_runs(
    make_run, event, tmp_path, said
):
    scored(make_run, event, group="g")
    again = scored(make_run, event, group="g", value=0.75)
    printed = said(lambda c: report.finish([again], tmp_path / "home", c))
    assert "0.750" in printed
    assert "compare/picked@" in printed


def test_settings_that_differ_are_printed_with_their_arms(make_run, event, tmp_path, said):
    runs = [
        scored(make_run, event, method=m, settings={"learning_rate": rate}, seed=seed)
        for m, rate, seeds in (("eps", 0.1, (0, 1)), ("ucb", 0.2, (0,)))
        for seed in seeds
    ]
    printed = said(lambda c: report.compare(runs, tmp_path / "home", c))
    assert "  trainer.learning_rate: 0.1 (eps), 0.2 (ucb)\n" in printed
    assert "  seeds: 0,1 (eps), 0 (ucb)\n" in printed


def test_arms_that_differ_in_nothing_else_print_no_settings(make_run, event, tmp_path, said):
    runs = [scored(make_run, event, method=m) for m in ("eps", "ucb")]
    assert "differ beside" not in said(lambda c: report.compare(runs, tmp_path / "home", c))


def test_a_baseline_may_be_named_by_its_method_alone(make_run, event, tmp_path, said):
    runs = [
        scored(
            make_run,
            event,
            method=m,
            seed=s,
            value=v + s / 10,
            overrides=(f"max_steps={n}",),
            settings={"max_steps": n},
        )
        for m, n, v in (("eps", 5, 0.1), ("ucb", 6, 0.3))
        for s in (0, 1)
    ]
    printed = said(lambda c: report.compare(runs, tmp_path / "home", c, baseline="eps"))
    assert "difference from eps max_steps=5, paired by seed" in printed


@pytest.mark.usefixtures("hooked")
def test_a_plugin_s_hook_that_fails_is_named_and_the_others_draw(make_run, event, tmp_path, said):
    run = scored(make_run, event, plugin="hooked")
    lines = said(lambda c: report.finish([run], tmp_path / "home", c)).splitlines()
    failed = [line for line in lines if line.startswith("lab: plugin")]
    assert failed == [
        "lab: plugin hooked: hooked_plugin:raises failed: ValueError: no such colour",
        "lab: plugin hooked: hooked_plugin:exits failed: SystemExit: 3",
        "lab: plugin hooked: hooked_plugin:missing failed: a plugin's hooked_plugin:missing cannot "
        "be loaded: AttributeError: hooked_plugin has no 'missing'; it has raises, exits, draws, "
        f"lab_plugin ({tmp_path / 'site' / 'hooked_plugin.py'}); mend it, "
        "`python -c 'import hooked_plugin'` shows where",
    ]
    assert f"figure   {tmp_path / 'home' / 'compare' / 'g' / 'own.png'}" in lines


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("", "lab ui"),
        ("http://tracker:5000", "http://tracker:5000"),
        ("https://me:secret@tracker/x", "https://tracker/x"),
        ("sqlite:////data/all.db", "mlflow ui --backend-store-uri sqlite:////data/all.db"),
    ],
)
def test_the_footer_names_where_the_results_are_seen(make_run, event, tmp_path, said, uri, shown):
    run = scored(make_run, event, uri=uri)
    lines = said(lambda c: report.finish([run], tmp_path / "home", c)).splitlines()
    assert f"ui       {shown}   (MLflow, every curve of every run)" in lines


@pytest.mark.parametrize("saved", [True, False])
def test_a_failure_speaks_of_a_checkpoint_only_where_there_is_one(make_run, tmp_path, said, saved):
    run = make_run(state="failed")
    if saved:
        (run.checkpoints / "00000004").mkdir()

    def finish(console):
        with pytest.raises(typer.Exit):
            report.finish([run], tmp_path / "home", console)

    assert ("goes on from its last checkpoint" in said(finish)) is saved
    assert ("begins again" in said(finish)) is not saved


def test_an_error_of_the_code_is_said_not_to_be_tried_again(make_run, tmp_path, said):
    run = make_run(state="failed")
    failures.record(run, KeyError("reward"), attempt=0)

    def finish(console):
        with pytest.raises(typer.Exit):
            report.finish([run], tmp_path / "home", console)

    assert "not tried again, since it would fail alike" in said(finish)


def test_a_stopped_sweep_names_its_group(make_run):
    runs = [make_run(seed=s, group="my sweep", state="preempted") for s in (0, 1)]
    assert str(StoppedError(runs)) == (
        "stopped; `lab resume --group 'my sweep'` begins again: there is no checkpoint yet"
    )
    (runs[0].checkpoints / "00000004").mkdir()
    assert str(StoppedError(runs)) == (
        "stopped; `lab resume --group 'my sweep'` goes on from the last checkpoints"
    )


def test_a_stopped_run_is_named_last_only_where_it_is(make_run):
    first, second = make_run(state="preempted"), make_run(seed=1, state="preempted")
    for run in (first, second):
        (run.checkpoints / "00000004").mkdir()
    assert "`lab resume last` goes on from the last checkpoint" in str(StoppedError([second]))
    assert f"`lab resume {first.id}` goes on" in str(StoppedError([first]))


def test_runs_of_several_groups_are_named_by_their_ids(make_run):
    runs = [make_run(seed=i, group=g, state="preempted") for i, g in enumerate("ab")]
    assert f"`lab resume {runs[0].id} {runs[1].id}`" in str(StoppedError(runs))


def test_the_members_of_a_group_bear_its_whole_name_in_a_sound_spec(make_run):
    runs = [make_run(group="a b"), make_run(group="a")]
    root = runs[0].path.parent
    assert run_index.members("a b", root) == runs[:1]
    assert run_index.members("a", root) == runs[1:]
    spec = json.loads((runs[1].path / "spec.json").read_text())
    (runs[1].path / "spec.json").write_text(json.dumps(spec | {"config_hash": "0"}))
    assert run_index.members("a", root) == []
