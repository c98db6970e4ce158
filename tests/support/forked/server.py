"""The process whose forks others start, and where a fork begins: `python server.py DOOR WORDS...`.

The words are those with which pytest collects the tests that its forks are to run; one more word
is room for theirs.
"""

import ctypes
import fcntl
import gc
import importlib
import io
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])

from forked import modules, pages, process, start
from forked.request import Request, receive

LIBRARIES = (
    "lab_llm",  # leaves out what transformers need not import
    "trl.trainer.grpo_trainer",
    "transformers.models.qwen3.modeling_qwen3",
    "torch._dynamo",
    "h5py",
    "hydra",
    "hydra.core.override_parser.overrides_parser",
    "hydra._internal.config_loader_impl",
    "hydra.core.plugins",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.tracking",
    "pydantic",
    "pydantic.dataclasses",
    "omegaconf._impl",
    "psutil",
    *("PIL." + name for name in ("BmpImagePlugin", "GifImagePlugin", "JpegImagePlugin")),
    *("PIL." + name for name in ("PngImagePlugin", "PpmImagePlugin", "ImageFont")),
    "rich._emoji_codes",
    "rich.live",
    "scipy.optimize",
    "scipy.special",
    "sqlite3",
    "tabulate",
    "torch.utils.serialization.config",
    "typer._adapters",
)
"""What takes long to import."""
PR_SET_PDEATHSIG = 1


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, process.SETTABLE)  # what comes early waits in a fork
    gc.disable()
    start.be_the_server()
    for name in LIBRARIES:
        importlib.import_module(name)
    prepare_libraries()
    modules.take_ours()
    if tests := sys.argv[2:-1]:
        modules.import_tests(tests)
    gc.collect()
    gc.freeze()
    pages.enlarge()
    assert threading.active_count() == 1, "a fork has one thread"
    live(*serve(socket.socket(fileno=int(sys.argv[1]))))


def prepare_libraries() -> None:
    """Let libraries make what they keep from their first call on: fonts, patterns, plugins."""
    sys.modules["hydra.core.plugins"].Plugins.instance()
    importlib.import_module("transformers.conversion_mapping").get_checkpoint_conversion_mapping("")
    figure = sys.modules["matplotlib.figure"].Figure(layout="constrained")
    axes = figure.subplots()
    axes.plot([1, 2], label="x")
    axes.legend()
    axes.set_yscale("log")
    figure.savefig(io.BytesIO())


def serve(door: socket.socket) -> tuple[Request, list[int]]:
    """What a fork is asked to be; returns in forks alone."""
    while asked := receive(door):
        request, files = asked
        told, tells = os.pipe()
        middle = os.fork()
        if not middle:
            if child := os.fork():
                os.write(tells, str(child).encode())
                os._exit(0)  # now the child is that of the process that asked
            _await_parent(request.parent)
            return request, files
        os.waitpid(middle, 0)
        door.sendall(os.read(told, 20).ljust(20))
        for handle in (told, tells, *files):
            os.close(handle)
    os._exit(0)


def _await_parent(parent: int) -> None:
    while (now := os.getppid()) != parent:
        if now == 1:
            os._exit(255)
        time.sleep(0.0005)


def live(request: Request, files: list[int]) -> NoReturn:
    """The whole life of a fork."""
    process.begin(request, files)
    words = request.words
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, request.blocked)
        if start.is_supervisor(words):
            os.execv = start.replaced
            try:
                _run(words)
            except start.Replaced as program:
                words = program.words
                process.replace()
        if not start.is_supervisor(words):
            _run(words)
    except BaseException as error:
        process.end(error)
    process.end(None)


def _run(words: Sequence[str]) -> None:
    """Run the program; one that starts others has a server of its own."""
    if start.starts_others(words):
        _have_a_server(of_tests=start.is_test_process(words))
    process.run(words)


def _have_a_server(*, of_tests: bool) -> None:
    door, inside = socket.socketpair()
    if server := os.fork():
        inside.close()
        high = fcntl.fcntl(door.fileno(), fcntl.F_DUPFD_CLOEXEC, 3)
        start.have(socket.socket(fileno=high), server)
        door.close()
        return
    process.show([sys.executable, __file__], {})
    signal.pthread_sigmask(signal.SIG_BLOCK, process.SETTABLE)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for handle in set(process.open_handles()) - {inside.fileno()}:
        os.close(handle)
    if of_tests:
        modules.be_a_job()
    gc.freeze()
    live(*serve(inside))


if __name__ == "__main__":
    main()
