"""Damage of a run directory, met by the commands: named in one line, never a wrong score."""

import json
import os
import shutil
from pathlib import Path

import pytest
from labrun import worker
from labrun.config.experiments import compose
from labrun.runs import checkpoints, run_dir
from labrun.runs.run_dir import RunDir

pytestmark = pytest.mark.usefixtures("example")


@pytest.fixture
def two(swept, home) -> tuple[RunDir, RunDir]:
    """Copies of two done runs, which differ in their method."""
    home.mkdir()
    names = ("example-plain-s1-", "example-momentum-s1-")
    runs = [next(run for run in run_dir.all_runs(swept) if run.id.startswith(n)) for n in names]
    for run in runs:
        shutil.copytree(run.path, home / run.id)
    return RunDir(home / runs[0].id), RunDir(home / runs[1].id)


def values(run: RunDir) -> list[str]:
    return [f"{score.value:.3f}" for score in run.scores()["held_out", "mse"].values()]


def flip_in(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def damage_events(run: RunDir, how: str) -> None:
    path = run.path / "events.jsonl"
    if how == "half":
        os.truncate(path, path.stat().st_size // 2)
    elif how == "emptied":
        os.truncate(path, 0)
    elif how == "gone":
        path.unlink()
    elif how == "folder":
        path.unlink()
        path.mkdir()
    else:
        flip_in(path, path.read_bytes().rindex(b'"value": ') + 12)


def test_the_worker_seals_a_done_run(two):
    for run in two:
        sealed = run.recorded_status().sealed
        assert sealed is not None
        assert sealed.bytes == (run.path / "events.jsonl").stat().st_size
        assert run.events_fault() is None


@pytest.mark.parametrize("how", ["half", "emptied", "gone", "folder", "flipped"])
def test_compare_leaves_a_run_with_damaged_events_out_and_names_it(two, lab_here, how):
    sound, bad = two
    (start, _) = values(bad)
    right = values(sound)[-1]
    damage_events(bad, how)
    compared = lab_here("compare", "--group", "sweep")
    assert compared.returncode == 0, compared.stderr
    (line,) = [one for one in compared.stdout.splitlines() if one.startswith("left out")]
    assert line.startswith(f"left out, damaged: {bad.id}: {bad.path / 'events.jsonl'} ")
    row = next(one for one in compared.stdout.splitlines() if one.startswith("held_out"))
    assert row.split()[-3:-1] == [right, "±"]  # one seed: the interval is over problems
    assert row.split().count(start) == 1  # of the sound run, whose arm begins alike
    alone = lab_here("compare", bad.id)
    assert alone.returncode == 2
    assert len(alone.stderr.splitlines()) == 1
    assert "events.jsonl" in alone.stderr
    assert "damaged" in alone.stderr


def test_commands_name_cut_events(two, lab_here):
    sound, bad = two
    damage_events(bad, "half")
    path = bad.path / "events.jsonl"
    shown = lab_here("runs", "show", bad.id)
    assert shown.returncode == 0, shown.stderr
    assert f"  damaged: {path} is damaged: " in shown.stdout
    assert "held_out/mse" not in shown.stdout
    listed = lab_here("runs")
    assert listed.returncode == 0, listed.stderr
    states = {line.split()[0]: line.split()[1] for line in listed.stdout.splitlines()}
    assert (states[sound.id], states[bad.id]) == ("done", "damaged")
    assert f"damaged: {bad.id}: {path} is damaged: " in listed.stdout
    looked = lab_here("doctor")
    assert f"{bad.id} is damaged: {path} is damaged: " in looked.stdout
    reindexed = lab_here("reindex")
    assert reindexed.returncode == 0, reindexed.stderr
    assert f"lab: left out {bad.id}: {path} is damaged: " in reindexed.stderr


def test_a_run_without_seal_is_shown_as_unsealed_and_compared(two, lab_here):
    _, old = two
    said = json.loads((old.path / "status.json").read_text())
    del said["sealed"]
    (old.path / "status.json").write_text(json.dumps(said))
    first = lab_here("runs", "show", old.id).stdout.splitlines()[0]
    assert first == f"{old.id}  done  unsealed"
    compared = lab_here("compare", "--group", "sweep")
    assert "left out" not in compared.stdout


@pytest.mark.parametrize("how", ["half", "flipped"])
def test_a_damaged_done_run_can_be_resumed_and_has_its_scores_again(two, lab_here, how):
    _, bad = two
    expected = bad.series(), bad.scores()
    damage_events(bad, how)
    resumed = lab_here("resume", bad.id)
    if resumed.returncode == 0:
        assert (bad.series(), bad.scores()) == expected
        assert bad.status().state == "done"
    else:  # cut before the first seal that is left
        assert "events.jsonl is damaged" in resumed.stderr
        assert bad.status().state == "damaged"


FILES = ["spec.json", "status.json", "data.json", "progress.json", "mlflow.json"]


@pytest.mark.parametrize("how", ["null", "folder"])
def test_every_command_goes_on_beside_a_run_whose_files_are_damaged(two, lab_here, how):
    sound, bad = two
    for name in FILES:
        (bad.path / name).unlink(missing_ok=True)
        if how == "null":
            (bad.path / name).write_text("null")
        else:
            (bad.path / name).mkdir()
    right = values(sound)[-1]
    for words in (["runs"], ["doctor"], ["reindex"]):
        done = lab_here(*words)
        assert "Traceback" not in done.stderr + done.stdout, (words, done.stderr)
    compared = lab_here("compare", sound.id, bad.id)
    assert compared.returncode == 0, compared.stderr
    assert right in compared.stdout
    fault = f"{bad.path / 'spec.json'} cannot be read"
    assert f"left out, damaged: {bad.id}: {fault}" in compared.stdout
    named = lab_here("runs", "show", bad.id)
    assert named.returncode == 2
    assert named.stderr.splitlines()[-1].startswith(f"lab: {fault}")


def stopped(home: Path, *words: str) -> RunDir:
    """A run with checkpoints of steps 4 and 8 whose worker failed behind them."""
    run = run_dir.create(compose(["plugin=example", *words]), root=home)
    assert worker.main([str(run.path)]) == 0
    run.write_status(state="failed", exit_code=1)
    return run


@pytest.mark.parametrize("text", ["", "null", '{"step": 8}'])
def test_a_checkpoint_whose_manifest_was_made_to_fit_gives_way_to_the_one_before(home, text):
    run = stopped(home)
    expected = run.series(), run.scores()
    newest = run.checkpoints / "00000008"
    (newest / "state.json").write_text(text)
    sums = {"state.json": checkpoints._sha256(newest / "state.json")}
    (newest / "manifest.json").write_text(json.dumps({"step": 8, "sha256": sums}))
    assert worker.main([str(run.path)]) == 0
    assert (run.series(), run.scores()) == expected
    starts = [event["resumed_from"] for event in run.events() if event["kind"] == "attempt"]
    assert starts == [None, 8, 4]
    (said,) = [event["message"] for event in run.events() if event.get("warning")]
    assert said.startswith(f"checkpoint passed over: damaged: {newest / 'state.json'} (")


def test_where_no_checkpoint_can_be_loaded_the_run_is_refused_and_not_retried(home, lab_here):
    run = stopped(home)
    for folder in checkpoints.folders(run.checkpoints):
        (folder / "state.json").write_text("{")
        sums = {"state.json": checkpoints._sha256(folder / "state.json")}
        (folder / "manifest.json").write_text(json.dumps({"sha256": sums}))
    refused = lab_here("resume", run.id)
    assert refused.returncode == 2, refused.stderr
    status = run.status()
    assert (status.state, status.exit_code) == ("refused", 2)
    assert "no readable checkpoint" in status.message
    assert "state.json" in status.message
    assert "`lab resume --restart`" in status.message
    starts = [event["resumed_from"] for event in run.events() if event["kind"] == "attempt"]
    assert starts == [None, 8, 4]


def test_a_resume_over_cut_events_ends_without_gaps(home, lab_here):
    run = stopped(home)
    expected = run.series(), run.scores()
    path = run.path / "events.jsonl"
    os.truncate(path, path.read_bytes().index(b'"step": 7'))
    run.write_status(sealed=None)
    resumed = lab_here("resume", run.id)
    assert resumed.returncode == 0, resumed.stderr
    assert f"checkpoint passed over: {path} is damaged before step 8" in resumed.stderr
    assert (run.series(), run.scores()) == expected


def test_deleted_checkpoints_are_said_and_need_a_restart(home, lab_here):
    run = stopped(home)
    shutil.rmtree(run.checkpoints)
    refused = lab_here("resume", run.id)
    assert refused.returncode == 2
    assert refused.stderr == (
        f"lab: the checkpoints of run {run.id} are gone, and there was one at step 8; put them "
        f"back into {run.checkpoints}, or `lab resume --restart` begins again at step 0\n"
    )
    assert lab_here("resume", run.id, "--restart").returncode == 0
    assert sorted(run.series()["loss"]) == list(range(1, 11))


def test_a_resume_of_a_group_leaves_a_damaged_run_out(home, lab_here):
    bad, sound = stopped(home, "group=g", "seed=1"), stopped(home, "group=g", "seed=2")
    (bad.path / "data.json").write_text("null")
    resumed = lab_here("resume", "--group", "g")
    assert f"lab: left out {bad.id}: {bad.path / 'data.json'} cannot be read" in resumed.stderr
    assert "Traceback" not in resumed.stderr
    assert sound.status().state == "done"
    assert bad.status().state == "failed"
