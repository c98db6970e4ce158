import os
import signal
import subprocess
import sys

import pytest
from labrun.errors import LabError
from labrun.experiment import ResourcesConfig
from labrun.launch.leases import Device, Pool, devices_here

BIG, SMALL = Device("gpu", 0, 80.0), Device("gpu", 1, 24.0)
SLOTS = (Device("cpu", 0), Device("cpu", 1))
HOLD = """
import sys, time
from pathlib import Path
from labrun.launch.leases import Device, Pool
from labrun.experiment import ResourcesConfig
pool = Pool([Device("gpu", 0, 80.0), Device("cpu", 7)], Path(sys.argv[1]))
lease = pool.acquire(ResourcesConfig(num_gpus=1), holder="run elsewhere")
print("held" if lease else "refused", flush=True)
time.sleep(60)
"""


@pytest.fixture
def pool(tmp_path) -> Pool:
    return Pool([BIG, SMALL, *SLOTS], tmp_path / "leases")


@pytest.fixture
def other(tmp_path):
    """Another process that holds gpu0."""
    words = [sys.executable, "-c", HOLD, str(tmp_path / "leases")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def gpus(number: int, **rest) -> ResourcesConfig:
    return ResourcesConfig(num_gpus=number, **rest)


def test_smallest_gpu_that_fits_is_taken(pool):
    lease = pool.acquire(gpus(1), holder="a")
    assert [d.name for d in lease.devices] == ["gpu1", "cpu0"]
    assert lease.gpus() == "1"
    lease.release()


def test_memory_request_passes_over_smaller_gpus(pool):
    lease = pool.acquire(gpus(1, min_gpu_memory_gib=40), holder="a")
    assert lease.gpus() == "0"
    lease.release()


def test_a_held_device_is_not_given_twice(pool):
    first = pool.acquire(gpus(1), holder="run one")
    second = pool.acquire(gpus(1), holder="run two")
    assert (first.gpus(), second.gpus()) == ("1", "0")
    assert pool.acquire(gpus(1), holder="run three") is None
    assert [pool.holder(d) for d in (BIG, SMALL)] == ["run two", "run one"]
    first.release()
    assert pool.acquire(gpus(1), holder="run three").gpus() == "1"


def test_all_or_nothing(pool):
    held = pool.acquire(gpus(1), holder="a")
    assert pool.acquire(gpus(2), holder="b") is None
    assert pool.holder(BIG) is None
    held.release()


def test_a_gpu_without_a_free_cpu_slot_is_given_back(pool):
    held = pool.acquire(ResourcesConfig(num_cpus=2), holder="a")
    assert pool.acquire(gpus(1), holder="b") is None
    assert pool.holder(SMALL) is None
    held.release()


def test_lease_of_another_process_holds_and_names_it(pool, other):
    assert pool.holder(BIG) == "run elsewhere"
    assert pool.acquire(gpus(1, min_gpu_memory_gib=40), holder="here") is None
    assert pool.acquire(gpus(1), holder="here").gpus() == "1"


def test_sigkill_of_the_holder_frees_the_lease(pool, other):
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert pool.holder(BIG) is None
    assert pool.acquire(gpus(1, min_gpu_memory_gib=40), holder="here").gpus() == "0"


def test_child_that_inherits_the_handles_keeps_the_lease(pool):
    lease = pool.acquire(gpus(1, min_gpu_memory_gib=40), holder="the job")
    child = subprocess.Popen(["sleep", "60"], pass_fds=lease.handles)
    lease.release()
    assert pool.holder(BIG) == "the job"
    child.kill()
    child.wait()
    assert pool.holder(BIG) is None


def refusal(pool: Pool, wanted: ResourcesConfig) -> str:
    with pytest.raises(LabError) as error:
        pool.refuse_infeasible(wanted)
    return str(error.value)


def test_more_gpus_than_there_are_is_refused_with_names(pool):
    assert refusal(pool, gpus(3)) == (
        "resources.num_gpus=3: this machine has 2 (of: gpu0 (80.0 GiB), gpu1 (24.0 GiB)); "
        "ask for fewer or smaller ones"
    )


def test_larger_gpus_than_there_are_is_refused_with_names(pool):
    assert refusal(pool, gpus(2, min_gpu_memory_gib=40)) == (
        "resources.num_gpus=2: this machine has 1 of 40 GiB "
        "(of: gpu0 (80.0 GiB), gpu1 (24.0 GiB)); ask for fewer or smaller ones"
    )


def test_gpus_on_a_machine_without_any_is_refused(tmp_path):
    assert refusal(Pool(SLOTS, tmp_path), gpus(1)) == (
        "resources.num_gpus=1: this machine has 0 (of: no GPU); ask for fewer or smaller ones"
    )


def test_more_cpu_slots_than_there_are_is_refused(pool):
    assert refusal(pool, ResourcesConfig(num_cpus=3)) == (
        "resources.num_cpus=3: this machine has 2 CPU slots"
    )


def test_busy_gpus_are_refused_with_their_holder_unless_waited_for(pool, other):
    assert refusal(pool, gpus(2)) == (
        "resources.num_gpus=2: only 1 GPUs are free (held: gpu0 by run elsewhere); "
        "resources.wait=true waits for them"
    )
    pool.refuse_infeasible(gpus(2, wait=True))
    pool.refuse_infeasible(gpus(1))
    pool.refuse_infeasible(gpus(0))


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """A machine whose nvidia-smi lists an 80 GiB and a 24 GiB GPU."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "nvidia-smi"
    script.write_text("#!/bin/sh\nprintf '0, 81920\\n1, 24576\\n'\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.usefixtures("nvidia_smi")
def test_gpus_are_those_that_nvidia_smi_lists():
    found = [d for d in devices_here() if d.kind == "gpu"]
    assert found == [BIG, SMALL]


def test_cpu_slots_are_the_cpus_that_this_process_may_use():
    slots = [d.index for d in devices_here() if d.kind == "cpu"]
    assert slots == list(range(len(os.sched_getaffinity(0))))


@pytest.mark.usefixtures("nvidia_smi", "example")
def test_infeasible_request_ends_the_command_before_anything_starts(lab_here, home):
    asked = lab_here("run", "plugin=example", "num_gpus=1", "min_gpu_memory_gib=90")
    assert asked.returncode == 2
    assert asked.stderr == (
        "lab: resources.num_gpus=1: this machine has 0 of 90 GiB "
        "(of: gpu0 (80.0 GiB), gpu1 (24.0 GiB)); ask for fewer or smaller ones\n"
    )
    assert not home.exists()


def test_a_job_takes_one_part_of_a_gpu_at_most(tmp_path):
    parts = [Device("gpu", 0, 20.0, mig=f"MIG-{letter}") for letter in "ab"]
    pool = Pool([*parts, *SLOTS], tmp_path / "leases")
    leases = [pool.acquire(gpus(1), holder=str(i)) for i in range(2)]
    assert [lease.gpus() for lease in leases] == ["MIG-a", "MIG-b"]
    assert sorted(path.name for path in (tmp_path / "leases").glob("MIG*")) == [
        "MIG-a.lock",
        "MIG-b.lock",
    ]
    for lease in leases:
        lease.release()
    assert pool.acquire(gpus(2), holder="c") is None
    assert refusal(pool, gpus(2)) == (
        "resources.num_gpus=2: this machine has 0 (of: gpu0.MIG-a (20.0 GiB), gpu0.MIG-b "
        "(20.0 GiB)); a job takes one MIG part at most; ask for fewer or smaller ones"
    )


def test_gpus_of_one_uuid_share_a_lock_whatever_their_index(tmp_path):
    here = Pool([Device("gpu", 3, 80.0, uuid="GPU-a"), *SLOTS], tmp_path / "leases")
    container = Pool([Device("gpu", 0, 80.0, uuid="GPU-a"), *SLOTS], tmp_path / "leases")
    lease = container.acquire(gpus(1), holder="run in a container")
    assert here.acquire(gpus(1), holder="run here") is None
    assert here.holders(here.devices) == {
        "gpu3": "run in a container",
        "cpu0": "run in a container",
    }
    lease.release()
