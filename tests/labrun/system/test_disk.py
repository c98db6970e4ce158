import subprocess
import sys

CODE = """
import resource, sys
from labrun.system import disk
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
disk.append(sys.argv[1], b"123456\\n")
try:
    disk.append(sys.argv[1], b"12345\\n")
except OSError as error:
    print(error.errno)
disk.append(sys.argv[1], b"12\\n")
"""


def test_a_line_that_does_not_fit_leaves_no_half(tmp_path):
    path = tmp_path / "events.jsonl"
    done = subprocess.run([sys.executable, "-c", CODE, path], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "27\n"), done.stderr
    assert path.read_bytes() == b"123456\n12\n"
