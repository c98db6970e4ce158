import errno
from pathlib import Path

import pytest
from labrun.attempts.loading import UnloadableError, loading
from labrun.errors import DivergedError, LabError, PreemptedError

FILE = Path("/runs/a/checkpoints/00000004/optimizer.pt")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no JSON\nat all"),
        KeyError("step"),
        TypeError("NoneType"),
        EOFError("ran out of input"),
        RuntimeError("PytorchStreamReader failed reading zip archive"),
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
    ],
)
def test_an_error_while_a_checkpoint_is_loaded_names_its_file(error):
    with pytest.raises(UnloadableError) as raised, loading(FILE):
        raise error
    text = str(raised.value)
    assert text.startswith(f"damaged: {FILE} ({type(error).__name__}: ")
    assert "\n" not in text


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory"),
        OSError(errno.EIO, "Input/output error"),
        LabError("refused"),
        DivergedError("nan"),
        PreemptedError("stopped"),
        KeyboardInterrupt(),
    ],
)
def test_what_is_no_fault_of_the_file_stays_what_it_is(error):
    with pytest.raises(type(error)) as raised, loading(FILE):
        raise error
    assert raised.value is error


def test_an_error_after_loading_has_ended_stays_what_it_is():
    with pytest.raises(ValueError, match="at step 3"), loading(FILE, ended=lambda: True):
        raise ValueError("at step 3")


def test_the_culprit_among_a_folder_s_files_is_named():
    with (
        pytest.raises(UnloadableError, match=r"^damaged: /runs/a/scheduler\.pt \(ValueError: x\)$"),
        loading(Path("/runs/a"), culprit=lambda folder: folder / "scheduler.pt"),
    ):
        raise ValueError("x")
