"""A plugin of another distribution: installed by pip, found, configured, run, compared, resumed."""

import csv
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from labrun.config.components import build
from labrun.config.experiments import compose
from labrun.runs import run_dir

T_2 = 0.95 * math.sqrt(2 / (1 - 0.95**2))  # 97.5% quantile of Student's t, 2 degrees of freedom


@pytest.mark.usefixtures("example")
def test_it_is_listed_with_its_distribution(lab_here):
    rows = [line.split() for line in lab_here("plugins").stdout.splitlines()]
    assert ["example", "labrun-example", "1.2.0", "example_plugin.plugin"] in rows


@pytest.mark.usefixtures("example")
def test_its_keys_are_shown_with_default_and_meaning(lab_here):
    shown = lab_here("plugins", "example")
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert lines[0] == "example: linear regression by SGD, plain or with momentum"
    assert lines[lines.index("presets of method") + 2].startswith("  method=plain (default)  ")
    assert "defaults: trainer=sgd, dataset=line, evaluator=mse" in lines
    for key, meaning in {
        "  trainer.momentum = 0.0": "Share of the last update that is added to the next one.",
        "  trainer.trouble.sleep_s = 0.0": "Seconds slept at each step.",
        "  dataset.noise = 0.1": "Standard deviation around the line y = 2 x - 1.",
        "  evaluator.mae.batch_size = 256": "Points predicted at once.",
        "  seed = 0": "Seed of every random stream of the run.",
    }.items():
        assert lines[lines.index(key) + 1].strip() == meaning


@pytest.mark.usefixtures("example")
def test_missing_held_out_file_is_refused_before_anything_starts(lab_here, home):
    refused = lab_here("run", "plugin=example", "held_out_file=/no/such.csv")
    assert refused.returncode == 2
    assert refused.stderr == "lab: dataset.held_out_file=/no/such.csv: no such file\n"
    assert not home.exists()


@pytest.mark.usefixtures("example")
def test_fingerprint_is_that_of_the_content():
    def fingerprint(*overrides):
        return build(compose(["plugin=example", *overrides])).dataset.fingerprint()

    assert fingerprint() == fingerprint("max_steps=3", "seed=9")
    assert fingerprint() != fingerprint("noise=0.2")


def raw_scores(home: Path) -> dict[tuple[str, int], dict[int, float]]:
    """(method, seed) -> step -> mse, from the lines of the run directories alone."""
    found = {}
    for spec in home.glob("*/spec.json"):
        experiment = json.loads(spec.read_text())["experiment"]
        lines = (spec.parent / "events.jsonl").read_text().splitlines()
        events = [json.loads(line) for line in lines]
        scores = {e["step"]: e["score"]["value"] for e in events if e["kind"] == "score"}
        found[experiment["choices"]["method"], experiment["run"]["seed"]] = scores
    return found


def test_sweep_is_every_method_with_every_seed(swept):
    scores = raw_scores(swept)
    assert set(scores) == {(m, s) for m in ("plain", "momentum") for s in (0, 1, 2)}
    assert all(set(steps) == {0, 10} for steps in scores.values())
    for run in run_dir.all_runs(swept):
        assert run.status().state == "done"
        assert sorted(run.series()["loss"]) == list(range(1, 11))
        assert run.experiment().run.group == "sweep"


def test_score_is_the_mean_of_its_items(swept):
    for run in run_dir.all_runs(swept):
        for score in run.scores()["held_out", "mse"].values():
            assert score.n == len(score.items) == 16
            assert score.value == pytest.approx(sum(score.items) / 16, rel=1e-12)


def test_methods_start_alike_and_end_apart(swept):
    scores = raw_scores(swept)
    assert len({steps[0] for steps in scores.values()}) == 1
    assert len({steps[10] for steps in scores.values()}) == 6


def by_hand(values: list[float]) -> tuple[float, float]:
    mean = sum(values) / 3
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / 2)
    return mean, T_2 * deviation / math.sqrt(3)


@pytest.mark.usefixtures("example")
def test_compare_gives_the_values_computed_by_hand(swept, lab_here, tmp_path, monkeypatch):
    monkeypatch.setenv("LABRUN_HOME", str(swept))
    out = tmp_path / "table"
    compared = lab_here("compare", "--group", "sweep", "--metric", "loss", "--out", str(out))
    assert compared.returncode == 0, compared.stderr
    scores = raw_scores(swept)
    rows = list(csv.DictReader((out / "scores.csv").read_text().splitlines()))
    table = {row["arm"]: row for row in rows}
    assert set(table) == {"start", "plain", "momentum"}
    shown = {}
    for method in ("plain", "momentum"):
        mean, half_width = by_hand([scores[method, seed][10] for seed in (0, 1, 2)])
        assert float(table[method]["mean"]) == pytest.approx(mean, rel=1e-12)
        assert float(table[method]["t95_half_width"]) == pytest.approx(half_width, rel=1e-9)
        assert table[method]["num_seeds"] == "3"
        shown[method] = f"{mean:.3f} ± {half_width:.3f}"
    assert float(table["start"]["mean"]) == pytest.approx(scores["plain", 0][0], rel=1e-12)
    assert float(table["start"]["t95_half_width"]) == pytest.approx(0, abs=1e-12)
    assert table["start"]["num_seeds"] == "3"
    for cell in shown.values():
        assert cell in compared.stdout
    assert "mean over 3 seeds" in compared.stdout
    assert (out / "curves.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.usefixtures("example")
def test_unknown_metric_is_refused_by_compare(swept, lab_here, monkeypatch):
    monkeypatch.setenv("LABRUN_HOME", str(swept))
    refused = lab_here("compare", "--metric", "los")
    assert refused.returncode == 2
    assert refused.stderr.startswith("lab: no metric 'los'; did you mean 'loss'? allowed: ")


@pytest.mark.usefixtures("example")
def test_stopped_command_exits_75_and_resume_gives_the_uninterrupted_result(swept, home, lab_here):
    shutil.copytree(swept, home)
    words = ["run", "plugin=example", "seed=1", "sleep_s=0.1", "group=stopped"]
    command = [sys.executable, "-m", "labrun.cli", *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        end = time.monotonic() + 240
        while not any(2 in run.series().get("loss", {}) for run in stopped_runs(home)):
            assert time.monotonic() < end, "the run did not reach step 2"
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGTERM)
        _, said = process.communicate(timeout=240)
    assert process.returncode == 75
    assert said.decode().splitlines() == [
        "lab: stopping; jobs write a checkpoint first (again: at once)",
        "lab: stopped; `lab resume last` goes on from the last checkpoint",
    ]
    (run,) = stopped_runs(home)
    assert run.status().state == "preempted"
    steps_before = max(run.series()["loss"])
    assert 2 <= steps_before < 10
    resumed = lab_here("resume", "last")
    assert resumed.returncode == 0, resumed.stderr
    attempts = [e["resumed_from"] for e in run.events() if e["kind"] == "attempt"]
    assert attempts == [None, steps_before]
    (whole,) = [r for r in run_dir.all_runs(swept) if r.id.startswith("example-plain-s1-")]
    assert run.series() == whole.series()
    assert run.scores() == whole.scores()


def stopped_runs(home: Path) -> list[run_dir.RunDir]:
    found = run_dir.all_runs(home)
    return [run for run in found if run.experiment().run.group == "stopped"]


@pytest.mark.usefixtures("example")
def test_resume_restart_begins_at_step_0_and_keeps_the_old_checkpoints(
    swept, home, fit_here, lab_here
):
    shutil.copytree(swept, home)
    code, run = fit_here("plugin=example", "nan_at_step=6")
    assert code == 70
    (run.checkpoints / "00000004" / "state.json").write_text("damaged")
    refused = lab_here("resume", run.id)
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].endswith("`lab resume --restart` begins again at step 0")
    again = lab_here("resume", run.id, "--restart")
    assert again.returncode == 70
    attempts = [e["resumed_from"] for e in run.events() if e["kind"] == "attempt"]
    assert attempts == [None, None]
    (aside,) = run.path.glob("checkpoints.aside-*")
    assert (aside / "00000004" / "state.json").read_text() == "damaged"
