"""What is compiled, where it is kept, and which libraries are loaded."""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lab_marl.kernel import build, cache, unroll
from labrun import LabError

HERE = build.lacking()
COMPILER = build._compiler()
BUILDS = """
import pathlib, sys, time
from lab_marl.kernel.build import library
ready, go = map(pathlib.Path, sys.argv[1:])
ready.touch()
while not go.exists():
    time.sleep(0.01)
print(library(32, 64).unroll_most_tokens())
"""
"""A process that builds a kernel as soon as the other is ready, too."""


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


@pytest.mark.skipif(bool(HERE), reason=f"no compiled kernel: {HERE}")
def test_of_two_processes_that_need_a_kernel_one_compiles_it_and_both_load_it(place, tmp_path):
    compiler = Path(os.environ["CXX"])
    compiler.write_text(f'#!/bin/sh\necho "$@" >> "$0.calls"\nexec {shlex.join(COMPILER)} "$@"\n')
    ready, go = [tmp_path / "one", tmp_path / "other"], tmp_path / "go"
    builders = [
        subprocess.Popen(
            [sys.executable, "-c", BUILDS, str(flag), str(go)], stdout=subprocess.PIPE, text=True
        )
        for flag in ready
    ]
    try:
        while not all(flag.exists() for flag in ready):
            assert all(builder.poll() is None for builder in builders)
            time.sleep(0.01)
        go.touch()
        said = [builder.communicate(timeout=build.COMPILE_TIMEOUT_S)[0] for builder in builders]
    finally:
        for builder in builders:
            builder.kill()
    assert said == [f"{unroll.MOST_TOKENS}\n"] * 2
    calls = Path(f"{compiler}.calls").read_text().splitlines()
    assert sum("-o" in call.split() for call in calls) == 1
    (made,) = (file for file in place.iterdir() if file.suffix != ".lock")
    assert made.name == build._name(32, 64)
