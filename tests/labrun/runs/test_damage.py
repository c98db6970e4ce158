"""Each damaged file of a run directory is one line, and harms no other run."""

import json
import os
import shutil
from pathlib import Path

import pytest
from labrun.errors import LabError
from labrun.launch import session
from labrun.runs import checkpoints, damage, run_dir, run_index
from labrun.runs.seals import DamagedError
from labrun.system import regular_files
from rich.console import Console

BROKEN = ["", "null", "5", "[]", '"text"', "{", "\x00\x00", "[" * 100_000]
FILES = ["spec.json", "status.json", "data.json", "progress.json"]


def write_w(folder: Path) -> None:
    (folder / "w").write_text("x")


@pytest.fixture
def runs(make_run, event):
    """A sound run and one that is to be damaged, both with all files."""
    made = [make_run(event.score(3, 0.5), seed=seed) for seed in (0, 1)]
    for run in made:
        (run.path / "data.json").write_text('{"fingerprint": "abc"}')
        (run.path / "progress.json").write_text('{"time": 1.0, "step": 3, "total": 3}')
    return made


def seen(root):
    """What every command asks of every run."""
    found = run_dir.all_runs(root)
    return {
        run.id: (run.status().state, run_dir.group_of(run), run.created() > 0, run.progress())
        for run in found
    }


@pytest.mark.parametrize("text", BROKEN)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named_in_one_line_and_the_other_run_is_whole(runs, name, text):
    sound, bad = runs
    before = seen(sound.path.parent)[sound.id]
    (bad.path / name).write_text(text)
    now = seen(sound.path.parent)
    assert now[sound.id] == before
    assert bad.id in now
    (fault,) = damage.faults(bad)
    assert str(bad.path / name) in fault
    assert "\n" not in fault
    assert damage.faults(sound) == []


@pytest.mark.parametrize("name", [*FILES, "events.jsonl", ".lock", ".failure.json", "stdio.log"])
def test_a_directory_in_a_file_s_place_is_named(runs, name):
    sound, bad = runs
    (bad.path / name).unlink(missing_ok=True)
    (bad.path / name).mkdir()
    assert set(seen(sound.path.parent)) == {sound.id, bad.id}
    (fault,) = damage.faults(bad)
    assert str(bad.path / name) in fault


def put_pipe(path):
    os.mkfifo(path)


def put_device(path):
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("put", [put_pipe, put_device])
@pytest.mark.parametrize("name", [*FILES, "events.jsonl", ".lock", ".failure.json", "stdio.log"])
def test_a_pipe_or_device_in_a_file_s_place_is_named_and_read_by_nobody(runs, name, put):
    sound, bad = runs
    (bad.path / name).unlink(missing_ok=True)
    put(bad.path / name)
    before = {run.id: run.state for run in run_index.entries(sound.path.parent)}
    assert set(before) == {sound.id, bad.id} == set(seen(sound.path.parent))
    assert before[sound.id] == "done"
    fault = damage.faults(bad, deep=True)[0]
    assert str(bad.path / name) in fault
    assert "Not a regular file" in fault or fault.endswith("is a pipe or a device; remove it")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("state", 5),
        ("state", "eone"),
        ("attempt", "x"),
        ("step", None),
        ("step", []),
        ("devices", "0"),
        ("devices", None),
        ("pid", "me"),
        ("started", "then"),
        ("message", {}),
    ],
)
def test_a_status_with_a_value_of_a_wrong_kind_is_unreadable_by_name(runs, key, value):
    run = runs[1]
    said = json.loads((run.path / "status.json").read_text())
    (run.path / "status.json").write_text(json.dumps(said | {key: value}))
    status = run.status()
    assert status.state == "unreadable"
    assert f"{run.path / 'status.json'} is damaged: {key} is" in status.message


def test_a_status_of_a_later_version_with_more_in_it_is_read(runs):
    run = runs[0]
    said = json.loads((run.path / "status.json").read_text())
    (run.path / "status.json").write_text(json.dumps(said | {"weather": "fine"}))
    assert run.status().state == "done"


@pytest.mark.parametrize("created", ["soon", None, [], 1e300, -1, float("inf"), float("nan")])
def test_a_damaged_time_of_creation_is_that_of_the_file(runs, created):
    run = runs[1]
    spec = json.loads((run.path / "spec.json").read_text())
    (run.path / "spec.json").write_text(json.dumps(spec | {"created": created}))
    assert run.created() == (run.path / "spec.json").stat().st_mtime


@pytest.mark.parametrize(
    "said", [{"step": "x"}, {"step": None, "total": [3]}, {"stage": 5}, {"time": 1.0}]
)
def test_progress_of_wrong_types_says_nothing(runs, said):
    (runs[0].path / "progress.json").write_text(json.dumps(said))
    assert runs[0].progress() == {}


@pytest.mark.parametrize("fingerprint", [None, 5, [], {}])
def test_a_damaged_fingerprint_is_named(runs, fingerprint):
    (runs[1].path / "data.json").write_text(json.dumps({"fingerprint": fingerprint}))
    with pytest.raises(DamagedError, match=r"data\.json is damaged: it holds no fingerprint"):
        runs[1].data_fingerprint()


def test_a_run_without_its_spec_is_listed_and_named(runs):
    sound, bad = runs
    (bad.path / "spec.json").unlink()
    assert set(seen(sound.path.parent)) == {sound.id, bad.id}
    (fault,) = damage.faults(bad)
    assert fault.startswith(f"{bad.path / 'spec.json'} cannot be read: No such file")


def test_folders_and_files_that_are_no_runs_are_passed_over(runs):
    root = runs[0].path.parent
    (root / "compare").mkdir()
    (root / "mlflow.db").write_text("x")
    (root / "link").symlink_to(root / "nowhere")
    (root / "ring").symlink_to(root / "ring")
    assert len(run_dir.all_runs(root)) == 2


@pytest.mark.parametrize("name", ["000000000", "00000013.bak", "00000x", "13", "٠٠٠٠٠٠١٣"])
def test_other_names_among_checkpoints_are_passed_over(tmp_path, name):
    def write(folder):
        (folder / "w").write_text("x")

    (tmp_path / name).mkdir()
    checkpoints.save(tmp_path, 3, write, keep=1)
    checkpoints.save(tmp_path, 5, write, keep=1)
    assert checkpoints.latest(tmp_path) == tmp_path / "00000005"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["00000005", name])


def test_steps_of_more_than_eight_digits_come_after_the_others(tmp_path):
    def write(folder):
        (folder / "w").write_text("x")

    for step in (99_999_999, 100_000_000):
        checkpoints.save(tmp_path, step, write, keep=2)
    assert [checkpoints.step_of(p) for p in checkpoints.folders(tmp_path)] == [
        99_999_999,
        100_000_000,
    ]


def test_a_file_in_a_checkpoint_s_place_is_damage(tmp_path):
    (tmp_path / "00000003").write_text("x")
    with pytest.warns(UserWarning, match="passed over"), pytest.raises(LabError, match="00000003"):
        checkpoints.latest(tmp_path)


def test_a_file_in_the_place_of_all_checkpoints_is_named(runs):
    sound, bad = runs
    shutil.rmtree(bad.checkpoints)
    bad.checkpoints.write_text("x")
    (fault,) = damage.faults(bad)
    assert fault == f"{bad.checkpoints} cannot be read: Not a directory"
    assert not run_dir.has_checkpoint(bad)
    assert damage.faults(sound) == []


@pytest.mark.parametrize("text", BROKEN)
def test_a_deep_look_names_checkpoints_too(runs, text):
    run = runs[0]
    checkpoints.save(run.checkpoints, 3, write_w, keep=1)
    assert damage.faults(run, deep=True) == []
    (run.checkpoints / "00000003" / "manifest.json").write_text(text)
    (fault,) = damage.faults(run, deep=True)
    assert f"{run.checkpoints / '00000003' / 'manifest.json'} cannot be read" in fault


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
@pytest.mark.parametrize("name", FILES)
def test_a_file_without_permission_is_named(runs, name):
    (runs[1].path / name).chmod(0)
    (fault,) = damage.faults(runs[1])
    assert fault == f"{runs[1].path / name} cannot be read: Permission denied"


@pytest.fixture
def as_nobody():
    """This process without root's rights; skipped where it has none to lay down."""
    if os.geteuid() != 0:
        pytest.skip("not root")
    os.seteuid(65534)
    yield
    os.seteuid(0)


def pytest_folders(root):
    """The folders of pytest above this one, which are closed to others."""
    return [one for one in root.parents if one.name.startswith(("pytest-", "popen-"))]


def test_what_another_user_does_not_show_is_one_line(tmp_path_factory, make_run, request):
    root = tmp_path_factory.mktemp("shared")
    for folder in (root, *pytest_folders(root)):
        folder.chmod(0o755)
    sound, shut, file = (make_run(seed=seed, root=root) for seed in (0, 1, 2))
    shut.path.chmod(0o700)
    (file.path / "status.json").chmod(0o600)
    request.getfixturevalue("as_nobody")
    assert {run.id for run in run_dir.all_runs(root)} == {sound.id, shut.id, file.id}
    assert sound.status().state == "done"
    assert file.status().message.endswith("status.json cannot be read: Permission denied")
    assert shut.status().message.endswith("status.json cannot be read: Permission denied")
    assert run_dir.group_of(shut) is None
    assert [run.id for run in run_index.select([], "g", root)] == [sound.id, file.id]
    with pytest.raises(DamagedError, match=r"\.lock cannot be locked: Permission denied"):
        shut.claim()


def test_another_user_s_home_is_one_line(tmp_path_factory, request):
    root = tmp_path_factory.mktemp("private")
    for folder in pytest_folders(root):
        folder.chmod(0o755)
    root.chmod(0o700)
    request.getfixturevalue("as_nobody")
    with pytest.raises(LabError, match=f"cannot read {root}: Permission denied; set LABRUN_HOME"):
        run_dir.all_runs(root)


@pytest.mark.parametrize("name", [".lock", "status.json", "data.json", "stdio.log", "events.jsonl"])
def test_a_pipe_in_a_file_s_place_holds_up_no_resume_and_no_writer(make_run, tmp_path, name):
    run = make_run(state="failed")
    (run.path / name).unlink(missing_ok=True)
    os.mkfifo(run.path / name)
    if name != "events.jsonl":  # which a resume puts aside
        with pytest.raises(LabError, match=rf"{name}.*(pipe|regular file)"):
            session.resume([run], tmp_path, Console)
    with pytest.raises(OSError, match=r"No such device|Not a regular file"):
        regular_files.opened_to_write(run.path / name, "ab")


@pytest.mark.parametrize("name", [".lock", "status.json", "data.json", "stdio.log"])
def test_a_resume_names_a_directory_in_a_file_s_place(make_run, tmp_path, name):
    run = make_run(state="failed")
    (run.path / name).unlink(missing_ok=True)
    (run.path / name).mkdir()
    with pytest.raises(LabError, match=rf"{name}.*(directory|Is a directory)") as error:
        session.resume([run], tmp_path, Console)
    assert "\n" not in str(error.value)
