import os
import time
from collections.abc import Callable

import pytest
from labrun.launch import devices
from labrun.launch.devices import Device, devices_here, gpus_here, visible

A = "GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77"
B = "GPU-5e0ff1c2-0000-1111-2222-333344445555"
PART, OTHER_PART = (
    "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f",
    "MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb",
)
GPUS = (Device("gpu", 0, 80.0, uuid=A), Device("gpu", 1, 24.0, uuid=B))
PARTS = (
    Device("gpu", 0, 5.0, mig=PART, uuid=A),
    Device("gpu", 0, 20.0, mig=OTHER_PART, uuid=A),
    Device("gpu", 1, 24.0, uuid=B),
)
TWO = f"0, 81920, {A}\\n1, 24576, {B}\\n"
LIST = f"GPU 0: NVIDIA H100 80GB HBM3 (UUID: {A})\\nGPU 1: NVIDIA L4 (UUID: {B})\\n"
WITH_PARTS = (
    f"GPU 0: NVIDIA A100-SXM4-80GB (UUID: {A})\\n"
    f"  MIG 1g.5gb      Device  0: (UUID: {PART})\\n"
    f"  MIG 3g.20gb+me  Device  1: (UUID: {OTHER_PART})\\n"
    f"GPU 1: NVIDIA L4 (UUID: {B})\\n"
)


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch) -> Callable[..., None]:
    """`nvidia_smi(rows, details)` puts a program of that name on PATH, which prints these texts."""

    def put(rows: str = TWO, details: str = LIST, *, body: str = "") -> None:
        script = tmp_path / "bin" / "nvidia-smi"
        script.parent.mkdir(exist_ok=True)
        answers = f"if [ $1 = -L ]; then printf '{details}'; else printf '{rows}'; fi\n"
        script.write_text(f"#!/bin/sh\n{body or answers}")
        script.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    devices._ask.cache_clear()
    yield put
    devices._ask.cache_clear()


def names(words: str, gpus=GPUS) -> list[str]:
    return [gpu.name for gpu in visible(gpus, words).gpus]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("0", ["gpu0"]),
        ("1,0", ["gpu1", "gpu0"]),
        (" 1 , 0 ", ["gpu1", "gpu0"]),
        ("0,0,1", ["gpu0", "gpu1"]),
        (B, ["gpu1"]),
        (f"{B},{A}", ["gpu1", "gpu0"]),
        (f"{A},{A}", ["gpu0"]),
        (f"0,{A}", ["gpu0"]),
        ("GPU-5d5b", ["gpu0"]),
        ("gpu-5E0F", ["gpu1"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("0,-1,1", ["gpu0"]),
        ("0,7,1", ["gpu0"]),
        ("GPU-5", []),  # the beginning of both
        ("GPU-ffff,0", []),
        ("MIG-ffff", []),
        ("all", []),
        ("9" * 5000, []),
    ],
)
def test_visible_gpus_are_those_that_cuda_shows(words, expected):
    assert names(words) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (PART, [f"gpu0.{PART}"]),
        (f"{OTHER_PART},{PART}", [f"gpu0.{OTHER_PART}", f"gpu0.{PART}"]),
        ("MIG-c6d4", [f"gpu0.{PART}"]),
        ("MIG-c", []),
        (f"MIG-{A}/3/0", [f"gpu0.MIG-{A}/3/0"]),
        ("0", [f"gpu0.{PART}"]),
        (A, [f"gpu0.{PART}"]),
        ("1", ["gpu1"]),
    ],
)
def test_parts_of_a_gpu_are_known_by_their_mig_names(words, expected):
    assert names(words, PARTS) == expected


def test_all_gpus_are_visible_without_the_variable():
    assert visible(GPUS, None).gpus == GPUS
    assert visible(GPUS, None).note == ""


@pytest.mark.parametrize(
    ("words", "note"),
    [
        ("0,1", ""),
        ("0", "CUDA_VISIBLE_DEVICES=0 shows 1 of 2 GPUs"),
        ("", "CUDA_VISIBLE_DEVICES= shows 0 of 2 GPUs"),
        ("-1", "CUDA_VISIBLE_DEVICES=-1 shows 0 of 2 GPUs"),
        ("1,9", "CUDA_VISIBLE_DEVICES=1,9: no GPU '9' here, which hides all from there on"),
    ],
)
def test_a_note_says_what_the_variable_hides(words, note):
    assert visible(GPUS, words).note == note


def test_nothing_is_said_of_the_variable_on_a_machine_without_gpus():
    assert visible((), "0,1") == devices.Listing()


def test_gpus_come_with_memory_and_uuid(nvidia_smi):
    nvidia_smi()
    found = gpus_here()
    assert found == devices.Listing(GPUS, "")
    assert [gpu.uuid for gpu in found.gpus] == [A, B]
    assert [gpu.lock_name for gpu in found.gpus] == [f"{A}.lock", f"{B}.lock"]
    assert [d for d in devices_here() if d.kind == "gpu"] == list(GPUS)


def test_uuids_of_the_environment_choose_gpus(nvidia_smi, monkeypatch):
    nvidia_smi()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-5e0f")
    assert [gpu.name for gpu in gpus_here().gpus] == ["gpu1"]


def test_a_gpu_in_parts_is_its_parts(nvidia_smi):
    nvidia_smi(details=WITH_PARTS)
    assert gpus_here().gpus == PARTS


def test_uuids_are_found_where_only_the_list_has_them(nvidia_smi):
    nvidia_smi("0, 81920\\n1, 24576\\n")
    assert [gpu.uuid for gpu in gpus_here().gpus] == [A, B]


def test_a_program_that_knows_one_answer_gives_gpus_by_index(nvidia_smi):
    nvidia_smi("0, 81920\\n1, 24576\\n", "0, 81920\\n1, 24576\\n")
    assert [gpu.lock_name for gpu in gpus_here().gpus] == ["gpu0.lock", "gpu1.lock"]


def test_memory_that_is_not_known_is_no_gib(nvidia_smi):
    nvidia_smi(f"0, [N/A], {A}\\n1, 24576 MiB, {B}\\n")
    assert [(gpu.memory_gib, gpu.size) for gpu in gpus_here().gpus] == [
        (0.0, "memory unknown"),
        (24.0, "24.0 GiB"),
    ]


@pytest.mark.parametrize(
    ("rows", "count", "note"),
    [
        ("No devices were found\\n", 0, "nvidia-smi printed 'No devices were found', which"),
        ("", 0, ""),
        ("\\n\\n", 0, ""),
        ("[N/A], [N/A]\\n", 0, "nvidia-smi printed '[N/A], [N/A]', which names no GPU"),
        ("0, 81920\\nUnable to reach GPU 1: lost\\n", 1, "nvidia-smi printed 'Unable to reach"),
        ("\\377\\376 garbage\\n", 0, "nvidia-smi printed "),
        ("0\\n", 0, "nvidia-smi printed '0', which names no GPU"),
        ("0, 81920\\n0, 81920\\n", 1, ""),
    ],
)
def test_lines_that_name_no_gpu_are_one_line(nvidia_smi, rows, count, note):
    nvidia_smi(rows, "")
    found = gpus_here()
    assert len(found.gpus) == count
    assert found.note.startswith(note)
    assert bool(found.note) == bool(note)
    assert found.note.isprintable()


@pytest.mark.parametrize(
    ("body", "note"),
    [
        ("echo 'no driver is running' >&2; exit 9\n", "failed with exit code 9: no driver is runn"),
        (
            "echo 'No devices were found'; exit 6\n",
            "failed with exit code 6: No devices were found",
        ),
        ("exit 3\n", "failed with exit code 3: no word"),
        ("kill -SEGV $$\n", "failed with exit code -11: no word"),
    ],
)
def test_a_failure_of_nvidia_smi_is_one_line(nvidia_smi, body, note):
    nvidia_smi(body=body)
    assert gpus_here().gpus == ()
    assert gpus_here().note.startswith(f"nvidia-smi {note}")


def test_a_program_that_cannot_be_started_is_one_line(nvidia_smi, tmp_path):
    nvidia_smi()
    (tmp_path / "bin" / "nvidia-smi").write_bytes(b"\0\1\2 no program")
    assert gpus_here().note == "nvidia-smi cannot be started: Exec format error"


def test_a_nvidia_smi_that_hangs_is_given_up_with_all_that_it_started(nvidia_smi, monkeypatch):
    monkeypatch.setattr(devices, "ANSWER_S", 0.3)
    nvidia_smi(body="sleep 600 & sleep 600\n")
    begun = time.monotonic()
    assert gpus_here().note == "nvidia-smi did not answer within 0.3 s"
    assert gpus_here().gpus == ()
    assert time.monotonic() - begun < 30


@pytest.mark.usefixtures("example")
def test_commands_say_in_one_line_that_nvidia_smi_failed(nvidia_smi, lab_here):
    nvidia_smi(body="echo 'driver mismatch' >&2; exit 18\n")
    said = "nvidia-smi failed with exit code 18: driver mismatch"
    asked = lab_here("run", "plugin=example", "num_gpus=1")
    assert asked.returncode == 2
    assert asked.stderr == (
        f"lab: resources.num_gpus=1: this machine has 0 (of: no GPU); {said}; "
        "ask for fewer or smaller ones\n"
    )
    checked = lab_here("doctor")
    assert checked.returncode == 0
    assert [line.split(maxsplit=2)[2] for line in checked.stdout.splitlines() if said in line] == [
        f"{said}; run `nvidia-smi` by hand, and mend the driver that it complains of"
    ]


def test_gpus_are_those_of_the_query_where_the_list_fails(nvidia_smi):
    nvidia_smi(body=f"[ $1 = -L ] && exit 4; printf '{TWO}'\n")
    assert gpus_here() == devices.Listing(GPUS, "nvidia-smi -L failed with exit code 4: no word")
