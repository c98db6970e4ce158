"""Rights that a grader's process gives up: what is left is reading files, computing and answering.

Linux's seccomp filters system calls by number, and root is bound by it too. The allowed calls are
listed; any other is answered with EPERM, so that Python code sees a PermissionError.
"""

import ctypes
import os
import platform
import resource
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MEMORY_BYTES = 1 << 30
"""Memory that a grader may take on top of what its process has at the start."""
OPEN_FILES = 64

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_ALLOW, _DENY, _KILL = 0x7FFF0000, 0x00050000 | 1, 0x80000000  # 1: EPERM
_LOAD, _JUMP_EQUAL, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in the kernel's struct seccomp_data
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_IOCTL = (0x5401, 0x5450, 0x5451)
"""TCGETS (is it a terminal?), FIONCLEX, FIOCLEX."""
_FCNTL = (0, 1, 2, 3, 1030)
"""F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC; F_SETOWN could signal other processes."""

_PLAIN = (  # noqa: SIM905
    "access brk clock_getres clock_gettime clock_nanosleep close dup exit exit_group faccessat "
    "faccessat2 fstat futex getcwd getdents64 getegid geteuid getgid getitimer getpid "
    "getppid getrandom getrlimit getrusage gettid gettimeofday getuid lseek lstat madvise "
    "membarrier mmap mprotect mremap munmap nanosleep newfstatat poll ppoll pread64 pselect6 read "
    "readlink readlinkat readv rseq rt_sigaction rt_sigprocmask rt_sigreturn sched_getaffinity "
    "sched_yield select set_robust_list setitimer sigaltstack stat statx sysinfo time times uname"
).split()
"""Allowed whatever their arguments are."""


@dataclass(frozen=True)
class _Machine:
    audit_number: int
    """How the kernel names the architecture to a filter (AUDIT_ARCH_*)."""
    calls: Mapping[str, int]
    """Name of a system call -> its number; old calls are missing on new architectures."""


_X86_64 = {
    "access": 21, "brk": 12, "clock_getres": 229, "clock_gettime": 228, "clock_nanosleep": 230,
    "close": 3, "dup": 32, "exit": 60, "exit_group": 231, "faccessat": 269, "faccessat2": 439,
    "fcntl": 72, "fstat": 5, "futex": 202, "getcwd": 79, "getdents64": 217, "getegid": 108,
    "geteuid": 107, "getgid": 104, "getitimer": 36, "getpid": 39, "getppid": 110,
    "getrandom": 318, "getrlimit": 97, "getrusage": 98, "gettid": 186, "gettimeofday": 96,
    "getuid": 102, "ioctl": 16, "lseek": 8, "lstat": 6, "madvise": 28, "membarrier": 324,
    "mmap": 9, "mprotect": 10, "mremap": 25, "munmap": 11, "nanosleep": 35, "newfstatat": 262,
    "open": 2, "openat": 257, "poll": 7, "ppoll": 271, "pread64": 17, "prlimit64": 302,
    "pselect6": 270, "read": 0, "readlink": 89, "readlinkat": 267, "readv": 19, "rseq": 334,
    "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "sched_getaffinity": 204,
    "sched_yield": 24, "select": 23, "set_robust_list": 273, "setitimer": 38, "sigaltstack": 131,
    "stat": 4, "statx": 332, "sysinfo": 99, "time": 201, "times": 100, "uname": 63, "write": 1,
}  # fmt: skip
_AARCH64 = {
    "brk": 214, "clock_getres": 114, "clock_gettime": 113, "clock_nanosleep": 115, "close": 57,
    "dup": 23, "exit": 93, "exit_group": 94, "faccessat": 48, "faccessat2": 439, "fcntl": 25,
    "fstat": 80, "futex": 98, "getcwd": 17, "getdents64": 61, "getegid": 177, "geteuid": 175,
    "getgid": 176, "getitimer": 102, "getpid": 172, "getppid": 173, "getrandom": 278,
    "getrlimit": 163, "getrusage": 165, "gettid": 178, "gettimeofday": 169, "getuid": 174,
    "ioctl": 29, "lseek": 62, "madvise": 233, "membarrier": 283, "mmap": 222, "mprotect": 226,
    "mremap": 216, "munmap": 215, "nanosleep": 101, "newfstatat": 79, "openat": 56, "ppoll": 73,
    "pread64": 67, "prlimit64": 261, "pselect6": 72, "read": 63, "readlinkat": 78, "readv": 65,
    "rseq": 293, "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139,
    "sched_getaffinity": 123, "sched_yield": 124, "set_robust_list": 99, "setitimer": 103,
    "sigaltstack": 132, "statx": 291, "sysinfo": 179, "times": 153, "uname": 160, "write": 64,
}  # fmt: skip
_MACHINES = {
    "x86_64": _Machine(0xC000003E, _X86_64),
    "aarch64": _Machine(0xC00000B7, _AARCH64),
}


class SandboxError(OSError):
    """This process could not give up its rights."""


def is_available() -> bool:
    """Whether a process of this machine can give up its rights: Linux with seccomp, on x86-64 or
    64-bit ARM."""
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        return False
    try:
        with open("/proc/self/status") as lines:
            return any(line.startswith("Seccomp:") for line in lines)
    except OSError:
        return False


def confine(*, output: int) -> None:
    """Give up, for good, all but reading files, computing and writing to the descriptor `output`.

    No network, no writing or removing of files, no new process or thread, no signal to another
    process, MEMORY_BYTES more memory. Standard output and error may be written to: point them at
    /dev/null before. Raises SandboxError where the kernel refuses.
    """
    limit_resources()
    _load(_program(_MACHINES[platform.machine()], writable=(1, 2, output)))


def limit_resources() -> None:
    """Bound memory, open files and file sizes; alone it binds no root, and no network."""
    bounds = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_AS: _mapped_bytes() + MEMORY_BYTES,
    }
    for kind, most in bounds.items():
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def _mapped_bytes() -> int:
    """This process's address space now."""
    try:
        with open("/proc/self/statm") as sizes:
            return int(sizes.read().split()[0]) * resource.getpagesize()
    except OSError:  # no /proc: not Linux
        return 1 << 32


def _program(machine: _Machine, *, writable: Sequence[int]) -> bytes:
    """The filter: BPF instructions over the number and the arguments of a system call."""
    calls = machine.calls
    code = [
        _instruction(_LOAD, value=_ARCHITECTURE),
        _instruction(_JUMP_EQUAL, jump_true=1, value=machine.audit_number),
        _instruction(_RETURN, value=_KILL),
        _instruction(_LOAD, value=_NUMBER),
    ]
    for name in _PLAIN:
        if name in calls:
            code += [
                _instruction(_JUMP_EQUAL, jump_false=1, value=calls[name]),
                _instruction(_RETURN, value=_ALLOW),
            ]
    code += _where(calls["write"], argument=0, among=writable)
    code += _where(calls["ioctl"], argument=1, among=_IOCTL)
    code += _where(calls["fcntl"], argument=1, among=_FCNTL)
    code += _where_null(calls["prlimit64"], argument=2)  # no new limit: only a question
    code += _without_bits(calls["openat"], argument=2, bits=_WRITES)
    if "open" in calls:
        code += _without_bits(calls["open"], argument=1, bits=_WRITES)
    return b"".join([*code, _instruction(_RETURN, value=_DENY)])


def _where(number: int, *, argument: int, among: Sequence[int]) -> list[bytes]:
    """Allow the call where its argument is one of a few values (32 bits each), else deny it."""
    tests = [
        _instruction(_JUMP_EQUAL, jump_true=len(among) - place, value=value)
        for place, value in enumerate(among)
    ]
    block = [
        _instruction(_LOAD, value=_ARGUMENTS + 8 * argument),
        *tests,
        _instruction(_RETURN, value=_DENY),
        _instruction(_RETURN, value=_ALLOW),
    ]
    return [_instruction(_JUMP_EQUAL, jump_false=len(block), value=number), *block]


def _where_null(number: int, *, argument: int) -> list[bytes]:
    """Allow the call where its argument is a null pointer (both halves), else deny it."""
    block = [
        _instruction(_LOAD, value=_ARGUMENTS + 8 * argument),
        _instruction(_JUMP_EQUAL, jump_false=3, value=0),
        _instruction(_LOAD, value=_ARGUMENTS + 8 * argument + 4),
        _instruction(_JUMP_EQUAL, jump_false=1, value=0),
        _instruction(_RETURN, value=_ALLOW),
        _instruction(_RETURN, value=_DENY),
    ]
    return [_instruction(_JUMP_EQUAL, jump_false=len(block), value=number), *block]


def _without_bits(number: int, *, argument: int, bits: int) -> list[bytes]:
    """Allow the call where its argument has none of the bits, else deny it."""
    block = [
        _instruction(_LOAD, value=_ARGUMENTS + 8 * argument),
        _instruction(_JUMP_ANY_BIT, jump_false=1, value=bits),
        _instruction(_RETURN, value=_DENY),
        _instruction(_RETURN, value=_ALLOW),
    ]
    return [_instruction(_JUMP_EQUAL, jump_false=len(block), value=number), *block]


def _instruction(code: int, *, jump_true: int = 0, jump_false: int = 0, value: int) -> bytes:
    return struct.pack("=HBBI", code, jump_true, jump_false, value)


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("program", ctypes.c_char_p))


def _load(program: bytes) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    filtered = _Filter(len(program) // 8, program)
    address = ctypes.addressof(filtered)
    for words in (
        (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, address, 0, 0),
    ):
        if libc.prctl(*map(ctypes.c_ulong, words)) != 0:
            code = ctypes.get_errno()
            raise SandboxError(code, f"seccomp: {os.strerror(code)}")
