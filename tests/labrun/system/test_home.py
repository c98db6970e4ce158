import ctypes
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from labrun.errors import LabError
from labrun.system import home as labrun_home

PR_CAPBSET_DROP, PR_SET_SECUREBITS, NO_SETUID_FIXUP = 24, 28, 4
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
VERSION_3 = 0x20080522
"""Of the kernel's structures of capabilities."""


def test_a_home_that_can_be_written_has_no_fault(tmp_path):
    assert labrun_home.fault_of(tmp_path) == ""
    assert labrun_home.fault_of(tmp_path / "new" / "deep") == ""


def test_a_file_is_no_home(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LabError) as error:
        labrun_home.refuse_unwritable(tmp_path / "file" / "runs")
    assert str(error.value) == (
        f"{tmp_path / 'file'} is no folder; set LABRUN_HOME to a folder that you can write"
    )


def test_a_home_whose_name_is_no_text_is_refused():
    fault = labrun_home.fault_of(Path(os.fsdecode(b"/data/gr\xf6sse")))
    assert fault == "/data/gr\\udcf6sse is no UTF-8 text"


def drop_override() -> None:
    """Let the modes of files hold for root too, from the next program on."""
    if os.geteuid() == 0:
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


@contextmanager
def without_override() -> Iterator[None]:
    """While entered, the modes of files hold for root too, in this thread and those it starts."""
    libc = ctypes.CDLL(None)
    head, sets = (ctypes.c_uint32 * 2)(VERSION_3), (ctypes.c_uint32 * 6)()
    assert libc.capget(head, sets) == 0
    effective = sets[0]
    sets[0] &= ~(1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH)
    if effective != sets[0]:  # else os.access would ask for what root may get
        assert libc.prctl(PR_SET_SECUREBITS, NO_SETUID_FIXUP, 0, 0, 0) == 0
    assert libc.capset(head, sets) == 0
    try:
        yield
    finally:
        is_root = effective != sets[0]
        sets[0] = effective
        assert libc.capset(head, sets) == 0
        if is_root:
            assert libc.prctl(PR_SET_SECUREBITS, 0, 0, 0, 0) == 0


def in_process_of_its_own(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "labrun.cli", *words],
        capture_output=True,
        text=True,
        timeout=900,
        stdin=subprocess.DEVNULL,
        preexec_fn=drop_override,
    )


@pytest.fixture
def command(lab_here) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`command(*words)`: a `lab` command of a user whom the modes of files bind."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        if words == ("ui",):  # would not return, where it is not refused
            return in_process_of_its_own(*words)
        with without_override():
            return lab_here(*words)

    return run


def fault_seen(path: Path) -> str:
    """What a user without a right to write there gets as the fault of `path`."""
    with without_override():
        return labrun_home.fault_of(path)


@pytest.fixture
def readable(tmp_path):
    """A folder that one may read and not write."""
    path = tmp_path / "runs"
    path.mkdir()
    path.chmod(0o555)
    yield path
    path.chmod(0o755)


@pytest.fixture
def read_only_home(readable, home, make_run, event, monkeypatch):
    """A home with one done and one failed run, which its reader may not write."""
    readable.chmod(0o755)
    make_run(event.attempt(0), event.score(0, 0.5), event.score(3, 0.75), root=readable)
    make_run(event.attempt(0), root=readable, state="failed", group="later")
    readable.chmod(0o555)
    monkeypatch.setenv("LABRUN_LEASES", str(readable.parent / "leases"))
    monkeypatch.setenv("LABRUN_HOME", str(readable))
    return readable


def test_a_read_only_home_is_named(readable):
    assert fault_seen(readable) == f"{readable} is read-only or another user's"


def test_the_folder_above_a_home_that_cannot_be_made_is_named(readable):
    new = readable / "new" / "home"
    assert fault_seen(new) == f"cannot make {new}: {readable} is read-only or another user's"


def test_the_umask_decides_who_may_read_a_home(tmp_path, make_run):
    before = os.umask(0o077)
    try:
        run = make_run(root=tmp_path / "private")
    finally:
        os.umask(before)
    modes = [oct(path.stat().st_mode & 0o777) for path in (run.path.parent, run.path)]
    assert modes == ["0o700", "0o700"]
    assert oct((run.path / "spec.json").stat().st_mode & 0o777) == "0o600"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("run", "plugin=example", "max_steps=1"), 2),
        (("resume", "last"), 2),
        (("reindex",), 2),
        (("ui",), 2),
        (("compare", "--group", "g"), 2),
        (("runs",), 0),
        (("run", "plugin=example", "--dry-run"), 0),
        (("doctor",), 2),
    ],
)
@pytest.mark.usefixtures("example")
def test_every_command_says_in_one_line_that_a_home_is_read_only(
    read_only_home, command, words, code
):
    asked = command(*words)
    assert asked.returncode == code, asked.stderr
    assert asked.stderr.count("\n") == (code == 2 and words != ("doctor",)), asked.stderr
    if asked.stderr:
        assert asked.stderr.startswith("lab: ")
        assert str(read_only_home) in asked.stderr
    if words == ("doctor",):
        assert f"{read_only_home} is read-only or another user's" in asked.stdout
