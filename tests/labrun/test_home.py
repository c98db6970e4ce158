import os
import subprocess
import sys

import pytest
from labrun import home as labrun_home
from labrun.errors import LabError

NOBODY = 65534


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


def as_other_user(path) -> str:
    """What a user who may not write to `path` gets as its fault."""
    code = (
        "import os, sys, pathlib\n"
        "from labrun import home\n"
        f"os.geteuid() or os.setuid({NOBODY})\n"
        "print(home.fault_of(pathlib.Path(sys.argv[1])))"
    )
    words = [sys.executable, "-c", code, str(path)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def readable(tmp_path):
    """A folder that everybody may read and nobody write."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        os.chmod(folder, 0o755)
    path = tmp_path / "runs"
    path.mkdir()
    path.chmod(0o555)
    yield path
    path.chmod(0o755)


def test_a_read_only_home_is_named(readable):
    assert as_other_user(readable) == f"{readable} is read-only or another user's"


def test_the_folder_above_a_home_that_cannot_be_made_is_named(readable):
    new = readable / "new" / "home"
    assert as_other_user(new) == f"cannot make {new}: {readable} is read-only or another user's"


def test_the_umask_decides_who_may_read_a_home(tmp_path, make_run):
    before = os.umask(0o077)
    try:
        run = make_run(root=tmp_path / "private")
    finally:
        os.umask(before)
    modes = [oct(path.stat().st_mode & 0o777) for path in (run.path.parent, run.path)]
    assert modes == ["0o700", "0o700"]
    assert oct((run.path / "spec.json").stat().st_mode & 0o777) == "0o600"
