"""Which folders several machines may see."""

import pytest
from labrun.system.network import is_on_network, kind_of

MOUNTS = """\
21 1 0:19 / / rw,relatime - overlay overlay rw,lowerdir=/x
30 21 0:25 / /home rw,relatime shared:1 - nfs4 server:/home rw,vers=4.2
31 30 0:26 / /home/fast\\040disk rw - ext4 /dev/sda1 rw
32 21 0:27 / /mnt rw - fuse.sshfs host:/x rw
33 21 0:28 / /big rw - lustre server@tcp:/big rw
34 21 0:29 / /données\\040de\\134M\\303\\251 rw - nfs4 server:/données rw
"""


@pytest.fixture
def mounts(tmp_path):
    path = tmp_path / "mountinfo"
    path.write_text(MOUNTS, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("path", "kind", "on_network"),
    [
        ("/srv/runs", "overlay", False),
        ("/home/me/runs", "nfs4", True),
        ("/home/fast disk/runs", "ext4", False),
        ("/homes/runs", "overlay", False),
        ("/mnt/runs", "fuse.sshfs", True),
        ("/big", "lustre", True),
        ("/données de\\Mé/runs", "nfs4", True),
    ],
)
def test_the_deepest_mount_says_the_kind(mounts, path, kind, on_network):
    assert kind_of(path, mounts) == kind
    assert is_on_network(path, mounts) is on_network
