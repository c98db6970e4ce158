"""Four commands share four GPUs while one of them is killed and the lock files are cleaned away.

LABRUN_STRESS_JOBS sets how many jobs each command runs (30).
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

NUM_COMMANDS, NUM_GPUS = 4, 4
COMMAND = """
import os, subprocess, sys, time
from pathlib import Path
from labrun.launch.leases import Device, Pool
from labrun.experiment import ResourcesConfig
folder, journal = map(Path, sys.argv[1:3])
name, num_jobs = sys.argv[3], int(sys.argv[4])
devices = [Device("gpu", i, 80.0) for i in range(4)] + [Device("cpu", i) for i in range(8)]
pool, done, jobs = Pool(devices, folder), 0, []
while done < num_jobs or jobs:
    jobs = [job for job in jobs if job.poll() is None]
    wanted = ResourcesConfig(num_gpus=1 + done % 2)
    lease = pool.acquire(wanted, holder=f"job {name}.{done}") if done < num_jobs else None
    if lease is None:
        time.sleep(0.003)
        continue
    words = ["sh", "-c", sys.argv[5], "job", f"{name}.{done}", lease.gpus(), str(journal)]
    jobs.append(subprocess.Popen(words, pass_fds=lease.handles))
    lease.release()
    done += 1
"""
JOB = """
for gpu in $(echo $2 | tr , ' '); do echo "begin gpu$gpu $1" >> "$3"; done
sleep 0.02
for gpu in $(echo $2 | tr , ' '); do echo "end gpu$gpu $1" >> "$3"; done
"""


def test_no_device_is_held_twice(tmp_path):
    num_jobs = int(os.environ.get("LABRUN_STRESS_JOBS", "30"))
    folder, journal = tmp_path / "leases", tmp_path / "journal"
    journal.touch()
    commands = [_start(tmp_path, folder, journal, str(i), num_jobs) for i in range(NUM_COMMANDS)]
    deadline = time.monotonic() + 300
    cleaned = killed = 0
    while any(command.poll() is None for command in commands):
        assert time.monotonic() < deadline, "the commands do not end"
        begun = journal.read_text().count("begin")
        if begun > 20 * (cleaned + 1) and cleaned < 3:
            _clean(folder, f"gpu{cleaned}.lock")
            cleaned += 1
        if begun > 40 and not killed:
            commands[0].kill()
            killed = 1
        time.sleep(0.02)
    time.sleep(0.5)  # jobs of the killed command end by themselves
    assert [command.wait() for command in commands] == [-9, 0, 0, 0]
    assert cleaned == 3
    jobs, twice = _held_twice(journal.read_text().splitlines())
    assert twice == []
    assert jobs >= 3 * num_jobs


def _start(root: Path, folder: Path, journal: Path, name: str, num_jobs: int):
    scratch = root / f"tmp{name}"
    scratch.mkdir()
    words = [sys.executable, "-c", COMMAND, str(folder), str(journal), name, str(num_jobs), JOB]
    return subprocess.Popen(words, env={**os.environ, "TMPDIR": str(scratch)})


def _clean(folder: Path, name: str) -> None:
    """What a cleaner of old files does."""
    (folder / name).unlink(missing_ok=True)


def _held_twice(lines: list[str]) -> tuple[int, list[str]]:
    """How many jobs began, and each time that a GPU was given to a second job."""
    holders: dict[str, str] = {}
    jobs, twice = set(), []
    for line in lines:
        what, gpu, job = line.split()
        jobs.add(job)
        if what == "begin" and gpu in holders:
            twice.append(json.dumps([gpu, holders[gpu], job]))
        if what == "begin":
            holders[gpu] = job
        elif holders.get(gpu) == job:
            del holders[gpu]
    return len(jobs), twice
