"""The process between a command and its job: `python -I -S supervisor.py PARENT REPORT HOLD WORDS`.

It runs WORDS as its child, holds the job's locks, and ends the job's whole tree with the job or
with the command, whichever goes first. Only the standard library is imported: it starts in 10 ms.
"""

import ctypes
import os
import resource
import signal
import sys
import time
from contextlib import suppress

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
END = signal.SIGUSR2
"""Ends the tree at once; the kernel sends it, too, when the command dies."""
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)  # as labrun.system.processes
WAITED_FOR = {*STOPS, END, signal.SIGCHLD}
LOOK_S = 1.0
"""Seconds after which it looks whether the command is still there, whatever signals came."""
KILL_S = 10.0
"""Seconds for which it tries to kill what is left; a process in the kernel's hands may stay."""


def main(words: list[str]) -> int:
    """The job's exit code; a job that a signal ended ends this process by the same one."""
    signal.pthread_sigmask(signal.SIG_BLOCK, WAITED_FOR)
    parent, report = int(words[0]), int(words[1])
    for handle in [report, *map(int, filter(None, words[2].split(",")))]:
        os.set_inheritable(handle, False)  # held here, and by nothing that the job starts
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_PDEATHSIG, END)
    child = _start(words[3:], prctl)
    status, peak_kib = _wait(child, parent)
    _end_tree()
    with suppress(OSError):  # the command may be gone, and nobody asks
        os.write(report, str(peak_kib).encode())
    return _leave(status)


def _start(words: list[str], prctl: "ctypes._NamedFuncPointer") -> int:
    me = os.getpid()
    if child := os.fork():
        return child
    os.setsid()
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, WAITED_FOR)
    if os.getppid() == me:
        os.execv(words[0], words)
    os._exit(1)


def _wait(child: int, parent: int) -> tuple[int, int]:
    """Wait status and peak memory in KiB of the child; stop signals are passed on as SIGTERM."""
    ending = False
    while True:
        got = signal.sigtimedwait(WAITED_FOR, LOOK_S)
        ending = ending or os.getppid() != parent or (got is not None and got.si_signo == END)
        if ending:
            os.kill(child, signal.SIGKILL)
        elif got is not None and got.si_signo in STOPS:
            os.kill(child, signal.SIGTERM)
        while (ended := _reaped())[0]:
            if ended[0] == child:
                return ended[1], ended[2]


def _reaped() -> tuple[int, int, int]:
    """Pid, wait status and peak memory in KiB of a child that has ended; zeros where none has."""
    pid, status, usage = os.wait4(-1, os.WNOHANG)
    return pid, status, usage.ru_maxrss


def _end_tree() -> None:
    """Kill what the job has left: its orphans, wherever they went, are this process's children."""
    give_up = time.monotonic() + KILL_S
    while time.monotonic() < give_up:
        try:
            while _reaped()[0]:
                pass
        except ChildProcessError:
            return
        for pid in descendants(os.getpid()):
            with suppress(OSError):  # ended meanwhile
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def descendants(root: int) -> list[int]:
    """The pids of all processes below this one."""
    children: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as stat:
                parent = int(stat.read().rpartition(b")")[2].split()[1])
        except OSError:
            continue  # ended meanwhile
        children.setdefault(parent, []).append(int(name))
    below: list[int] = []
    waiting = [root]
    while waiting:
        found = children.get(waiting.pop(), [])
        below += found
        waiting += found
    return below


def _leave(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return code
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the job's own core, if any, is enough
    if -code not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(-code, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {-code})
    os.kill(os.getpid(), -code)
    return 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
