"""What is compiled, where it is kept, and which libraries are loaded."""

import os
from pathlib import Path

import pytest
from lab_stairs.kernel import build, cache
from labrun import LabError


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """An own cache, and a compiler that writes `made` in place of a library."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    compiler = tmp_path / "our compiler" / "c++"
    compiler.parent.mkdir()
    compiler.write_text(
        '#!/bin/sh\necho "$@" >> "$0.calls"\n'
        'while [ "$1" ]; do [ "$1" = -o ] && echo made > "$2"; shift; done\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    return tmp_path / "cache" / "labrun" / "kernels"


def refused(match: str) -> None:
    with pytest.raises(LabError, match=match) as caught:
        build.library(32, 64)
    assert "\n" not in str(caught.value)


def test_a_path_of_the_compiler_may_hold_spaces_and_the_library_is_the_users_alone(place):
    before = os.umask(0o002)
    try:
        refused("is damaged or cannot be loaded here")  # this compiler makes no library
    finally:
        os.umask(before)
    (made,) = place.glob("*.so")
    assert made.read_text() == "made\n"
    assert oct(made.stat().st_mode) == "0o100700"
    assert oct(place.stat().st_mode) == "0o40700"


def test_cxx_may_hold_arguments(place, monkeypatch):
    compiler = os.environ["CXX"]
    monkeypatch.setenv("CXX", f"'{compiler}' -one -two")
    assert build._compiler() == [compiler, "-one", "-two"]
    refused("is damaged")
    with open(f"{compiler}.calls") as calls:
        assert [line.split()[:2] for line in calls] == [["-one", "-two"]] * 2
    for wrong in ("'", "  ", "no-such-compiler -O1"):
        monkeypatch.setenv("CXX", wrong)
        assert build._compiler() == []


def test_a_compiler_that_dies_cannot_start_or_makes_nothing_is_named(place):
    compiler = os.environ["CXX"]
    for text, said in (
        ("#!/bin/sh\nkill -9 $$\n", "it ended with code -9"),
        ("#!/bin/sh\nexit 0\n", "it ended with code 0"),
        ("#!/no/such/shell\n", "cannot be started: No such file"),
    ):
        with open(compiler, "w") as file:
            file.write(text)
        refused(said)
    assert not list(place.glob("*.so")) + list(place.glob("*.draft"))


def kept(place) -> str:
    """A stand-in of the library that this size would have."""
    cache.make()
    name = build._name(32, 64)
    (place / name).write_text("another's code")
    (place / name).chmod(0o700)
    return name


def test_a_library_that_others_may_write_or_that_is_a_link_is_not_loaded(place, tmp_path):
    name = kept(place)
    (place / name).chmod(0o770)
    refused(r"may be written by others \(mode 0770\); remove it")
    (place / name).rename(tmp_path / "elsewhere.so")
    (place / name).symlink_to(tmp_path / "elsewhere.so")
    refused("is a symbolic link; remove it")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_library_or_folder_of_another_user_is_not_loaded(place):
    name = kept(place)
    os.chown(place / name, 12345, -1)
    refused("belongs to user 12345; remove it")
    os.chown(place, 12345, -1)
    refused("the folder of compiled kernels .* belongs to user 12345")
    assert "belongs to user 12345" in build.lacking()


def test_a_folder_that_is_a_link_or_a_file_is_refused(place, tmp_path):
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path)
    refused("is a symbolic link")
    place.unlink()
    place.write_text("")
    refused("cannot be used: Not a directory|cannot be made: File exists")


def test_a_cache_below_a_file_is_refused_before_work(place, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert "cannot be" in cache.fault()
    refused("cannot be made")


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch):
    def nobody():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", nobody)
    assert cache.fault().startswith("this user has no home, and so no place for compiled kernels; ")
