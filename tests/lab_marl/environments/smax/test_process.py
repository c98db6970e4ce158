"""The process in which SMAX steps; none of these tests imports JAX."""

import os
import signal
from pathlib import Path

import pytest
from lab_marl.environments.smax.process import (
    SmaxProcess,
    compiled_folder,
    environment_of,
    shared,
)
from lab_marl.environments.smax.scenarios import parsed
from labrun.errors import LabError


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache folder of this file's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def process(cache):
    made = SmaxProcess()
    yield made
    made.close()


def answers(process: SmaxProcess) -> bool:
    """Whether it says that nobody made battles 7."""
    with pytest.raises(RuntimeError, match=r"(?s)SMAX failed in its own process:.*KeyError: 7"):
        process.ask("advise", 7)
    return True


def test_signals_that_reach_the_whole_group_do_not_end_it(process):
    assert answers(process)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(process._process.pid, number)
    assert answers(process)


def test_a_kill_is_told_with_its_signal_and_the_next_request_starts_anew(process):
    assert answers(process)
    os.kill(process._process.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="the process of SMAX was ended by SIGKILL"):
        process.ask("advise", 7)
    assert answers(process)


def test_it_ends_when_its_parent_does(process):
    assert answers(process)
    process._pipe.close()  # as the kernel does for a parent that was killed
    assert process._process.wait(60) == 0


def test_its_last_words_are_told(cache):
    missing = SmaxProcess("lab_marl.no_such_module")
    with pytest.raises(RuntimeError, match=r"ended with 1: .*No module named lab_marl\.no_such"):
        missing.ask("make", 1)


def test_a_jax_that_cannot_be_imported_is_refused_in_one_line(cache, tmp_path, monkeypatch):
    (tmp_path / "jax.py").write_text("import no_such_jaxlib")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    broken = SmaxProcess()
    expected = r"^SMAX cannot be imported: No module named 'no_such_jaxlib'; run: pip install .*$"
    with pytest.raises(LabError, match=expected):
        broken.ask("make", 1, parsed("smax-3m"))
    broken.close()


def test_a_process_has_one_for_all_its_battles():
    assert shared() is shared()


def test_no_setting_of_jax_of_the_user_reaches_it():
    variables = {"HOME": "/h", "JAX_ENABLE_X64": "1", "XLA_FLAGS": "--a", "JAX_PLATFORMS": "cuda"}
    made = environment_of(variables, kept_in=Path("/kept"))
    assert (made["HOME"], made["JAX_PLATFORMS"]) == ("/h", "cpu")
    assert "JAX_ENABLE_X64" not in made
    assert made["JAX_COMPILATION_CACHE_DIR"] == "/kept"


def test_a_folder_of_compiled_programs_that_others_may_write_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = compiled_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o770)
    with pytest.raises(LabError, match=f"{folder} is to hold .* set XDG_CACHE_HOME"):
        compiled_folder()
