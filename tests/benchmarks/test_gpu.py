"""`make gpu` in its small form on the CPU: every section gives its rows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from forked import start
from gpu import golden, memory, sampler_rates, stairs_updates
from gpu.place import Place

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
HERE = Place("cpu", is_small=True, seconds=600)


def test_the_golden_values_hold():
    found = {row["golden"]: row["holds"] for row in golden.rows(HERE)}
    assert set(found) == {"rlrt", "sdpo"} | {
        f"stairs {task} {value}" for task in ("cn-2", "cn-4") for value in ("Q", "Q_tot")
    }
    assert all(found.values())


@pytest.mark.parametrize("section", [stairs_updates, sampler_rates])
def test_speeds_are_positive(section):
    rows = list(section.rows(HERE))
    assert rows
    for row in rows:
        speeds = [value for name, value in row.items() if name.endswith("_per_s")]
        assert speeds
        assert min(speeds) > 0


def test_the_plan_of_memory_stands_beside_what_was_held():
    (row,) = memory.rows(HERE)
    assert row["planned_of_measured"] == pytest.approx(row["planned_gib"] / row["measured_gib"])
    assert 0.1 < row["planned_of_measured"] < 10


def test_sections_in_processes_of_their_own_make_one_table_and_one_file(tmp_path):
    out = tmp_path / "gpu.json"
    command = [sys.executable, "-m", "gpu", "--device", "cpu", "--small", "--out", str(out)]
    paths = os.pathsep.join([str(BENCHMARKS), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*command, "--sections", "steps", "side_by_side"],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())["sections"]
    assert {name: section["ended"] for name, section in found.items()} == {
        "steps": "done",
        "side_by_side": "done",
    }
    steps = found["steps"]["rows"]
    assert {(row["method"], row["precision"]) for row in steps} == {
        (method, precision)
        for method in ("sdpo", "stairs")
        for precision in ("float32", "bfloat16")
    }
    assert {row["state"] for row in steps} == {"done"}
    assert all(row["grad_norm"] > 0 for row in steps)
    runs = {row["run"]: row for row in found["side_by_side"]["rows"]}
    assert set(runs) == {"grpo seed 0", "rlrt seed 0"}
    assert {row["state"] for row in runs.values()} == {"done"}
    assert "== steps: done" in done.stdout


def test_a_section_that_takes_too_long_is_ended_and_keeps_its_rows(tmp_path):
    out = tmp_path / "gpu.json"
    command = [sys.executable, "-m", "gpu", "--device", "cpu", "--small", "--out", str(out)]
    with start.cold():  # a new process takes longer to import torch
        done = subprocess.run(
            [*command, "--sections", "golden", "memory", "--seconds", "1.2"],
            env={
                **os.environ,
                "PYTHONPATH": str(BENCHMARKS) + ":" + os.environ.get("PYTHONPATH", ""),
            },
            capture_output=True,
            text=True,
        )
    assert done.returncode == 1
    found = json.loads(out.read_text())["sections"]
    assert [section["ended"] for section in found.values()] == ["out of time"] * 2
