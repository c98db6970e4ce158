"""Who has a lock open."""

import subprocess
import sys

from labrun.system import processes

WITHOUT_WORDS = """
import ctypes, sys
held = open(sys.argv[1])
begin, end = map(int, open("/proc/self/stat").read().rpartition(")")[2].split()[45:47])
ctypes.memset(begin, 0, end - begin)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_process_without_words_that_still_has_the_lock_is_ending(tmp_path):
    lock = tmp_path / ".lock"
    lock.touch()
    command = [sys.executable, "-I", "-S", "-c", WITHOUT_WORDS, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert processes.is_only_supervised(lock)
        process.stdin.close()
    assert not processes.is_only_supervised(lock)
