"""Files are opened only where they are files."""

import os

import pytest
from labrun.system import regular_files


def test_a_small_file_is_read_as_it_is(tmp_path):
    (tmp_path / "a").write_bytes(b"\x00one\n\ntwo")
    assert regular_files.content(tmp_path / "a") == b"\x00one\n\ntwo"


def test_a_file_that_no_run_writes_is_not_read_whole(tmp_path):
    (tmp_path / "a").touch()
    os.truncate(tmp_path / "a", regular_files.MOST_BYTES + 1)  # of holes, it takes no room
    with pytest.raises(OSError, match=r"Larger than 64 MiB: '.*/a'"):
        regular_files.content(tmp_path / "a")


@pytest.mark.parametrize(
    ("put", "why"), [(os.mkdir, "Is a directory"), (os.mkfifo, "Not a regular file")]
)
def test_what_is_no_file_is_named(tmp_path, put, why):
    put(tmp_path / "a")
    with pytest.raises(OSError, match=f"{why}: '.*/a'"):
        regular_files.content(tmp_path / "a")
