import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from labrun.errors import LabError
from labrun.experiment import ResourcesConfig
from labrun.launch import lease_files
from labrun.launch.lease_files import LockFiles, lease_folder
from labrun.launch.leases import Device, Pool

GPU, SLOT = Device("gpu", 0, 80.0), Device("cpu", 0)
ONE = ResourcesConfig(num_gpus=1)
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
HOLD = """
import sys, time
from pathlib import Path
from labrun.launch.leases import Device, Pool
from labrun.experiment import ResourcesConfig
pool = Pool([Device("gpu", 0, 80.0), Device("cpu", 0)], Path(sys.argv[1]))
lease = pool.acquire(ResourcesConfig(num_gpus=1), holder="run elsewhere")
print("held" if lease else "refused", flush=True)
time.sleep(600)
"""
FLOCK = """
import fcntl, os, sys, time
handle = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(handle, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "leases"


@pytest.fixture
def pool(folder) -> Pool:
    return Pool([GPU, SLOT], folder)


@pytest.fixture
def start():
    """`start(code, path)` runs a process until the test ends; it prints a word when it is ready."""
    started = []

    def run(code: str, path: Path) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", code, str(path)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        process.word = process.stdout.readline().strip()  # pyright: ignore
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def victim(tmp_path) -> Path:
    path = tmp_path / "precious"
    path.write_text("precious")
    return path


def refusal(pool: Pool) -> str:
    with pytest.raises(LabError) as error:
        pool.refuse_infeasible(ResourcesConfig())
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_folder_does_not_depend_on_tmpdir(monkeypatch, tmp_path):
    monkeypatch.delenv("LABRUN_LEASES", raising=False)
    first = lease_folder()
    for name in ("TMPDIR", "TMP", "TEMP", "HOME", "XDG_RUNTIME_DIR", "LABRUN_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    assert lease_folder() == first
    assert first.name == f"labrun-{os.geteuid()}"
    assert str(first.parent) in lease_files.PLACES


def test_labrun_leases_names_the_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("LABRUN_LEASES", str(tmp_path / "mine"))
    assert lease_folder() == tmp_path / "mine"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABRUN_LEASES", "here")
    assert lease_folder() == tmp_path / "here"


def test_a_place_where_others_can_rename_the_folder_is_passed_over(monkeypatch, tmp_path):
    open_to_all, sticky = tmp_path / "open", tmp_path / "sticky"
    for path, mode in ((open_to_all, 0o777), (sticky, 0o1777)):
        path.mkdir()
        path.chmod(mode)
    monkeypatch.delenv("LABRUN_LEASES", raising=False)
    monkeypatch.setattr(lease_files, "PLACES", (str(tmp_path / "absent"), str(open_to_all)))
    with pytest.raises(LabError, match=r"no place for leases: none of .* set LABRUN_LEASES to"):
        lease_folder()
    monkeypatch.setattr(lease_files, "PLACES", (str(open_to_all), str(sticky)))
    assert lease_folder().parent == sticky


def test_folder_and_files_are_this_user_s_alone(pool, folder):
    before = os.umask(0)
    try:
        lease = pool.acquire(ONE, holder="a")
    finally:
        os.umask(before)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (folder, *folder.iterdir())}
    assert modes == {"leases": "0o700", "gpu0.lock": "0o600", "cpu0.lock": "0o600"}
    lease.release()


def test_a_lock_file_that_others_may_open_is_closed_to_them(pool, folder):
    pool.acquire(ONE, holder="a").release()
    (folder / "gpu0.lock").chmod(0o666)
    pool.acquire(ONE, holder="a").release()
    assert oct((folder / "gpu0.lock").stat().st_mode & 0o777) == "0o600"


@pytest.mark.parametrize("kind", ["link", "dangling", "hard link", "fifo", "folder"])
def test_what_is_planted_as_a_lock_is_refused_and_left_alone(pool, folder, victim, kind):
    folder.mkdir(mode=0o700)
    place = folder / "cpu0.lock"
    if kind == "link":
        place.symlink_to(victim)
    elif kind == "dangling":
        place.symlink_to(victim.with_name("new"))
    elif kind == "hard link":
        os.link(victim, place)
    elif kind == "fifo":
        os.mkfifo(place)
    else:
        place.mkdir()
    said = refusal(pool)
    assert said.startswith(f"{place} ")
    assert "remove it, or set LABRUN_LEASES" in said
    assert pool.acquire(ResourcesConfig(), holder="a") is None
    assert str(place) in pool.holder(SLOT)
    assert victim.read_text() == "precious"
    assert not victim.with_name("new").exists()


def test_a_link_is_named_as_one(pool, folder, victim):
    folder.mkdir(mode=0o700)
    (folder / "cpu0.lock").symlink_to(victim)
    assert f"{folder / 'cpu0.lock'} is a symbolic link; remove it" in refusal(pool)


@as_root
def test_another_user_s_lock_file_is_refused_and_left_alone(pool, folder):
    folder.mkdir(mode=0o700)
    (folder / "cpu0.lock").write_text("theirs")
    os.chown(folder / "cpu0.lock", NOBODY, NOBODY)
    assert "cpu0.lock belongs to user nobody; remove it" in refusal(pool)
    assert pool.acquire(ResourcesConfig(), holder="a") is None
    assert (folder / "cpu0.lock").read_text() == "theirs"


def test_a_folder_that_is_a_link_is_refused(pool, folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    said = f"the lease folder {folder} is a symbolic link; remove it, or set LABRUN_LEASES"
    assert refusal(pool).startswith(said)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o702])
def test_a_folder_that_others_may_write_is_refused(pool, folder, mode):
    folder.mkdir()
    folder.chmod(mode)
    assert f"may be written by others (mode {mode:04o}); chmod 700 it" in refusal(pool)
    with pytest.raises(LabError):
        pool.acquire(ONE, holder="a")


@as_root
def test_a_folder_of_another_user_is_refused(pool, folder):
    folder.mkdir(mode=0o700)
    os.chown(folder, NOBODY, NOBODY)
    assert f"{folder} belongs to user nobody; remove it" in refusal(pool)


def test_a_file_in_the_folder_s_place_is_one_line(pool, folder):
    folder.write_text("")
    assert f"the lease folder {folder} cannot be used: Not a directory" in refusal(pool)


@pytest.mark.parametrize("how", ["removed", "replaced", "moved", "folder removed"])
def test_a_job_keeps_its_gpu_when_its_lock_file_goes(pool, folder, start, how):
    holder = start(HOLD, folder)
    assert holder.word == "held"
    lock = folder / "gpu0.lock"
    if how == "removed":
        lock.unlink()
    elif how == "replaced":
        (folder / "new").write_text("")
        (folder / "new").replace(lock)
    elif how == "moved":
        lock.rename(folder / "gpu0.lock.old")
    else:
        shutil.rmtree(folder)
    for _ in range(2):
        assert pool.acquire(ONE, holder="here") is None
        assert pool.holder(GPU) == "run elsewhere (its lock file was removed)"
    with pytest.raises(LabError, match=r"held: gpu0 by run elsewhere \(its lock file was removed"):
        pool.refuse_infeasible(ONE)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert pool.holder(GPU) is None
    lease = pool.acquire(ONE, holder="here")
    assert lease.gpus() == "0"
    lease.release()


def test_a_lock_file_that_goes_is_noticed_within_one_process_too(pool, folder):
    lease = pool.acquire(ONE, holder="first")
    shutil.rmtree(folder)
    assert pool.acquire(ONE, holder="second") is None
    lease.release()
    assert pool.acquire(ONE, holder="second").gpus() == "0"


def test_a_copy_of_a_lock_file_is_not_taken_for_it(pool, folder, start):
    assert start(HOLD, folder).word == "held"
    shutil.copy(folder / "gpu0.lock", folder / "copy")
    (folder / "copy").replace(folder / "gpu0.lock")
    assert pool.acquire(ONE, holder="here") is None


def test_jobs_of_other_folders_are_no_matter(folder, tmp_path, start):
    assert start(HOLD, tmp_path / "others").word == "held"
    shutil.rmtree(tmp_path / "others")
    assert Pool([GPU, SLOT], folder).acquire(ONE, holder="here").gpus() == "0"


def test_a_process_that_is_no_job_is_named_by_its_pid(pool, folder, start):
    pool.acquire(ONE, holder="run of yesterday").release()
    process = start(FLOCK, folder / "gpu0.lock")
    named = pool.holder(GPU)
    assert named.startswith(f"process {process.pid} ({sys.executable}")
    assert " of user " in named
    with pytest.raises(LabError, match=f"held: gpu0 by process {process.pid} "):
        pool.refuse_infeasible(ONE)


def test_a_holder_that_wrote_nothing_is_named_by_its_pid(pool, folder, start):
    folder.mkdir(mode=0o700)
    (folder / "gpu0.lock").write_text("")
    process = start(FLOCK, folder / "gpu0.lock")
    assert pool.holder(GPU).startswith(f"process {process.pid} ")
    assert pool.acquire(ONE, holder="here") is None


@pytest.mark.parametrize("text", ["", "run x", "[]", "null", '{"labrun lease": 3}', "\xff\0"])
def test_any_text_in_a_lock_file_is_overwritten_by_the_next_lease(pool, folder, text):
    folder.mkdir(mode=0o700)
    (folder / "gpu0.lock").write_text(text)
    assert pool.holder(GPU) is None
    lease = pool.acquire(ONE, holder="run y")
    assert pool.holder(GPU) == "run y"
    lease.release()


def test_a_lock_on_the_folder_holds_up_nobody_for_ever(pool, folder, monkeypatch):
    monkeypatch.setattr(lease_files, "MAKING_S", 0.1)
    folder.mkdir(mode=0o700)
    handle = os.open(folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    assert pool.acquire(ONE, holder="a") is None
    os.close(handle)
    assert pool.acquire(ONE, holder="a").gpus() == "0"


def test_looking_for_holders_makes_no_folder(pool, folder):
    assert pool.holders([GPU, SLOT]) == {}
    assert not folder.exists()


def test_taking_a_lock_again_leaves_one_handle_a_lease(folder):
    files = LockFiles(folder)
    before = len(os.listdir("/proc/self/fd"))
    held = files.take("gpu0.lock", holder="a")
    for _ in range(20):
        assert files.take("gpu0.lock", holder="b") is None
        assert files.holder("gpu0.lock") == "a"
    assert len(os.listdir("/proc/self/fd")) == before + 1
    os.close(held)


@pytest.mark.usefixtures("example")
def test_a_planted_link_ends_the_command_in_one_line(lab_here, home, folder, victim):
    folder.mkdir(mode=0o700)
    (folder / "cpu0.lock").symlink_to(victim)
    asked = lab_here("run", "plugin=example", "max_steps=1")
    assert asked.returncode == 2
    assert asked.stderr.startswith(f"lab: {folder / 'cpu0.lock'} is a symbolic link; remove it")
    assert asked.stderr.count("\n") == 1
    assert victim.read_text() == "precious"
    assert not home.exists()
    checked = lab_here("doctor")
    assert checked.returncode == 2
    assert f"bad   leases             {folder / 'cpu0.lock'} is a symbolic link" in checked.stdout
