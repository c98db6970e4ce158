"""Worker processes that start with torch and TRL imported: forks of one server."""

import multiprocessing
import os
import runpy
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from multiprocessing.connection import Connection, Listener, wait
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess as Process

CLIENT = Path(__file__).with_name("warm_client.py")

SERVED = multiprocessing.get_context("forkserver")
SERVED.set_forkserver_preload(["trl.trainer.grpo_trainer", "lab_marl.plugin"])


def exit_code(work: Callable[..., None], *words: str) -> int:
    """How `work(*words)` ends in a process of its own; the negative number of a signal.

    The process has this one's variables, and none of its memory.
    """
    process = _start(work, words, dict(os.environ))
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def command(folder: Path) -> list[str]:
    """`[*command(folder), script, *words]` is `[python, script, *words]`, done by a fork."""
    address = str(folder / "door")
    threading.Thread(target=_serve, args=(Listener(address, "AF_UNIX"),), daemon=True).start()
    return [sys.executable, str(CLIENT), address]


def _serve(listener: Listener) -> None:
    while True:
        threading.Thread(target=_answer, args=(listener.accept(),), daemon=True).start()


def _answer(door: Connection) -> None:
    """Do what a client asks for; the work ends with its client."""
    words, variables = door.recv()
    process = _start(script, words, variables)
    if door in wait([door, process.sentinel]):
        process.kill()
    process.join()
    with suppress(OSError):  # the client is gone
        door.send(process.exitcode)


def script(path: str, *words: str) -> None:
    """What `python path *words` does."""
    sys.argv = [path, *words]
    runpy.run_path(path, run_name="__main__")


def lab(out: str, *words: str) -> None:
    """What `lab *words` does; what it prints goes into the file `out`."""
    from labrun.cli import main

    sys.argv = ["lab", *words]
    with open(out, "w") as file, redirect_stdout(file):
        main.main()


def fit(*words: str) -> None:
    """What the worker of `lab run *words` does, in a new run of LABRUN_HOME."""
    from labrun import worker
    from labrun.config.experiments import compose
    from labrun.runs import run_dir

    run = run_dir.create(compose(list(words)), root=run_dir.home())
    sys.exit(worker.main([str(run.path)]))


def own_tests(out: str, *paths: str) -> None:
    """What `pytest *paths` does; what it prints goes into the file `out`."""
    import pytest

    root = os.path.dirname(paths[0])
    with open(out, "w") as file, redirect_stdout(file):
        sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", f"--rootdir={root}", *paths]))


def _start(work: Callable[..., None], words: Sequence[str], variables: dict[str, str]) -> "Process":
    process = SERVED.Process(target=_begin, args=(work, words, variables))
    process.start()
    return process


def _begin(work: Callable[..., None], words: Sequence[str], variables: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)
    if "OMP_NUM_THREADS" in variables:  # which torch read in the server
        torch.set_num_threads(int(variables["OMP_NUM_THREADS"]))
    work(*words)
