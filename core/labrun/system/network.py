"""Which folders lie on a network file system, where several machines may see them."""

import os
import re
from pathlib import Path

KINDS = ("9p", "afs", "beegfs", "ceph", "cifs", "fhgfs", "gfs", "gfs2", "glusterfs", "gpfs")
KINDS += ("lustre", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "quobyte")
KINDS += ("smb2", "smb3", "smbfs", "wekafs")
REMOTE_FUSE = ("sshfs", "ceph", "glusterfs", "juicefs", "s3fs", "gcsfuse", "goofys", "rclone")
MOUNTS = Path("/proc/self/mountinfo")
_OCTAL = re.compile(rb"\\([0-3][0-7]{2})")
"""How the kernel writes a space, a tab, a line's end and a backslash."""


def is_on_network(path: Path, mounts: Path = MOUNTS) -> bool:
    """Whether the folder, or the nearest one above it that is there, lies on a network file system.

    By the kind that the kernel names; one that it does not list here counts as local.
    """
    kind = kind_of(path, mounts)
    name, _, fuse = kind.partition(".")
    return name in KINDS or (name == "fuse" and fuse.startswith(REMOTE_FUSE))


def kind_of(path: Path, mounts: Path = MOUNTS) -> str:
    """The kind of the file system on which the path lies: `ext4`, `nfs4`, `fuse.sshfs`."""
    real = os.path.realpath(path)
    best, kind = "", ""
    for line in filter(None, mounts.read_bytes().split(b"\n")):
        left, _, right = line.partition(b" - ")
        place = os.fsdecode(_OCTAL.sub(_byte, left.split(b" ")[4]))
        inside = real == place or real.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= len(best):
            best, kind = place, os.fsdecode(right.split()[0])
    return kind


def _byte(escape: re.Match[bytes]) -> bytes:
    return bytes([int(escape[1], 8)])
