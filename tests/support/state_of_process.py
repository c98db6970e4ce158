"""Say as JSON what a process finds at its start: python state_of_process.py WORDS..."""

import json
import os
import random
import resource
import signal
import sys
import tempfile
import threading

import numpy as np

IS_FORK = "trl" in sys.modules
import torch  # noqa: E402


def state() -> dict[str, object]:
    limits = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    return {
        "argv": sys.argv,
        "blocked": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))),
        "cmdline": open("/proc/self/cmdline").read().rstrip("\0"),
        "environ": sorted(filter(None, open("/proc/self/environ").read().split("\0"))),
        "folder": os.getcwd(),
        "group is its own": os.getpgrp() == os.getpid(),
        "session is its own": os.getsid(0) == os.getpid(),
        "handles": {n: os.get_inheritable(n) for n in range(400) if _is_open(n)},
        "handlers": [str(signal.getsignal(n)) for n in sorted(signal.valid_signals())],
        "limits": {name: resource.getrlimit(getattr(resource, name)) for name in limits},
        "main": sorted(
            vars(sys.modules["__main__"]).keys() - {"__annotations__", "__warningregistry__"}
        ),
        "parent": os.getppid(),
        "paths": sys.path,
        "streams": [_settings(name) for name in ("stdin", "stdout", "stderr")],
        "temporary": tempfile.gettempdir(),
        "threads": [thread.name for thread in threading.enumerate()],
        "torch threads": [torch.get_num_threads(), torch.get_num_interop_threads()],
        "umask": [line for line in open("/proc/self/status") if line.startswith("Umask")],
        "variables": dict(os.environ),
    }


def _settings(name: str) -> list[object]:
    stream = getattr(sys, name)
    kinds = [type(stream.buffer).__name__, stream.line_buffering, stream.write_through]
    return [stream.name, stream.mode, stream.encoding, stream.errors, *kinds]


def _is_open(handle: int) -> bool:
    try:
        os.fstat(handle)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    drawn = [random.random(), float(np.random.random()), float(torch.rand(()))]
    print(json.dumps({"same": state(), "drawn": drawn, "is fork": IS_FORK}))
    sys.exit(int(sys.argv[1]))
