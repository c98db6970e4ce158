"""Which folders lie on a network file system, where several machines may see them."""

import os
from pathlib import Path

KINDS = ("9p", "afs", "beegfs", "ceph", "cifs", "fhgfs", "gfs", "gfs2", "glusterfs", "gpfs")
KINDS += ("lustre", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "quobyte")
KINDS += ("smb2", "smb3", "smbfs", "wekafs")
REMOTE_FUSE = ("sshfs", "ceph", "glusterfs", "juicefs", "s3fs", "gcsfuse", "goofys", "rclone")
MOUNTS = Path("/proc/self/mountinfo")


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
    for line in mounts.read_text(errors="replace").splitlines():
        left, _, right = line.partition(" - ")
        place = left.split()[4].encode().decode("unicode_escape")
        inside = real == place or real.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= len(best):
            best, kind = place, right.split()[0]
    return kind
