"""What a new process takes over from the one that starts it, and how that reaches the server."""

import array
import pickle
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LENGTH = struct.Struct("!I")
MOST_HANDLES = 250
"""Linux sends 253 in a message."""


@dataclass(frozen=True)
class Request:
    """A program, and its place in the system."""

    words: Sequence[str]
    """The command line, with Python as its first word."""
    variables: Mapping[str, str]
    folder: str
    parent: int
    """The process that starts it and waits for it."""
    group: int
    """The parent's process group."""
    handles: Sequence[int]
    """The number of each file that it has open, in the order in which the files are sent."""
    errors: int
    """Handle to which a failed start writes, as `subprocess` expects; closed by a good one."""
    ignored: Sequence[int]
    blocked: Sequence[int]
    limits: Mapping[int, tuple[int, int]]
    umask: int
    new_session: bool
    new_group: int
    """Process group that it moves to; -1 for none."""
    before: Callable[[], Any] | None
    """Called in the new process before the program, as `preexec_fn` is."""


def send(door: socket.socket, request: Request, files: Sequence[int]) -> None:
    """Send the request with its open files."""
    data = pickle.dumps(request)
    handles = array.array("i", files)
    door.sendmsg([LENGTH.pack(len(data))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handles)])
    door.sendall(data)


def receive(door: socket.socket) -> tuple[Request, list[int]] | None:
    """The next request and its files under numbers of this process; None at the end."""
    handles = array.array("i")
    head, sent, _, _ = door.recvmsg(LENGTH.size, socket.CMSG_LEN(MOST_HANDLES * handles.itemsize))
    if not head:
        return None
    for _, _, data in sent:
        handles.frombytes(data[: len(data) - len(data) % handles.itemsize])
    return pickle.loads(_exactly(door, *LENGTH.unpack(head))), list(handles)


def _exactly(door: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        data += door.recv(length - len(data))
    return bytes(data)
