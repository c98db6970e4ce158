"""`lab bench`: a suite is run, interrupted and gone on with; only what is missing is run."""

import signal
import subprocess
import sys
import time

import pytest
from labrun.runs.run_dir import RunDir, all_runs
from labrun.suites import finding

PATIENCE_S = 300.0
SUITE = """\
question: Does momentum help?
source: {{paper: arXiv 1, table: table 2, of: squared error of a line, read_from: a test}}
expected: momentum lower
notes: [at paper scale the points are ours]
common: {{plugin: example, evaluate_start: false}}
arms:
  plain: [method=plain, max_steps=2]
  momentum: {{method: momentum, trouble: {{script: {script}}}}}
rows:
  - {{task: held_out, metric: mse, published: {{plain: 1.50, momentum: 0.25}}}}
scales:
  tiny: {{toy: "64 points", overrides: scale=short, seeds: "0,1"}}
  paper:
    overrides: scale=long
    needs: {{dataset.held_out_file: the published points}}
    rows: [{{task: other, metric: mse, published: {{plain: 3.5}}}}]
"""
HOLD = """\
import pathlib, time
while not pathlib.Path({release!r}).exists() and not ctx.should_stop:
    time.sleep(0.02)
"""


@pytest.fixture
def release(tmp_path):
    """The file without which arm `momentum` stands still at its second step."""
    return tmp_path / "release"


@pytest.fixture
def mine(example, tmp_path, release, monkeypatch) -> str:
    """A suite in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hold.py").write_text(HOLD.format(release=str(release)))
    (tmp_path / "mine.yaml").write_text(SUITE.format(script=tmp_path / "hold.py"))
    return "mine.yaml"


def states(home) -> dict[str, str]:
    """Arm and seed of each run -> its state."""
    return {name_of(run): run.status().state for run in all_runs(home)}


def name_of(run: RunDir) -> str:
    return f"{run.experiment().choices['method']} {run.experiment().run.seed}"


def attempts(run: RunDir) -> int:
    return sum(event["kind"] == "attempt" for event in run.events())


def wait_for(condition) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def stands_still(home) -> bool:
    """The run of plain is done, and that of momentum has begun its second step."""
    found = all_runs(home)
    done = [run for run in found if run.status().state == "done"]
    held = [run for run in found if run.status().state == "running" and run.series().get("loss")]
    return len(done) == len(held) == 1


def test_an_interrupted_suite_goes_on_and_makes_only_what_is_missing(mine, home, lab_here, release):
    command = [sys.executable, "-m", "labrun.cli", "bench", mine, "--seeds", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as first:
        wait_for(lambda: stands_still(home))
        first.send_signal(signal.SIGINT)
        _, said = first.communicate(timeout=PATIENCE_S)
    assert first.returncode == 75, said
    assert "lab: 0 of 2 runs of mine-tiny are done or under way; 0 go on, 2 begin\n" in said
    assert states(home) == {"plain 0": "done", "momentum 0": "preempted"}
    release.touch()
    again = lab_here("bench", mine, "--seeds", "0")
    assert again.returncode == 0, again.stderr
    assert "lab: 1 of 2 runs of mine-tiny are done or under way; 1 go on, 0 begin\n" in again.stderr
    assert states(home) == {"plain 0": "done", "momentum 0": "done"}
    assert {attempts(r) for r in all_runs(home) if name_of(r).startswith("plain")} == {1}
    more = lab_here("bench", mine)
    assert "lab: 2 of 4 runs of mine-tiny are done or under way; 0 go on, 2 begin\n" in more.stderr
    assert len(all_runs(home)) == 4
    lines = more.stdout.splitlines()
    assert "mine: Does momentum help?" in lines
    assert "ours       scale=tiny, A TOY RESULT, no reproduction: 64 points" in lines
    (row,) = [line.split() for line in lines if line.startswith("held_out mse")]
    assert row[2:5] == ["plain", "score", "1.50"]
    assert row[-3:] == ["2", "of", "2"]
    assert "runs     4 of 4 done" in lines
    assert "…" not in more.stdout
    assert "ours (tiny)" not in more.stdout
    nothing = lab_here("bench", mine, "--seeds", "0", "--report-only")
    assert "runs     2 of 2 done" in nothing.stdout
    assert "2 more runs of this group have other settings or seeds, and do not count" in (
        nothing.stdout
    )


def test_the_table_alone_is_on_standard_output(mine, lab_here):
    looked = lab_here("bench", mine, "--report-only", "--format", "md")
    assert looked.stdout.startswith(
        "**mine**: Does momentum help?\n\n- published: arXiv 1, table 2."
    )
    assert "| held\\_out mse | plain | score | 1.50 | - | 0 of 2 |" in looked.stdout.splitlines()
    assert looked.stdout.endswith("- runs: 0 of 4 done, 4 not begun\n")
    refused = lab_here("bench", mine, "--format", "pdf")
    assert refused.stderr == "lab: no --format 'pdf'; allowed: csv, json, latex, md, text\n"
    refused = lab_here("bench", mine, "--format", "md", "--dry-run")
    assert refused.stderr.startswith("lab: --dry-run prints a plan and no table; leave --format md")


def test_a_report_of_nothing_starts_nothing(mine, home, lab_here):
    looked = lab_here("bench", mine, "--report-only")
    assert looked.returncode == 0, looked.stderr
    assert "runs     0 of 4 done, 4 not begun" in looked.stdout.splitlines()
    assert all_runs(home) == []


def test_a_dry_run_plans_every_run_and_starts_nothing(mine, home, lab_here):
    planned = lab_here("bench", mine, "--dry-run", "--scale", "paper")
    assert planned.returncode == 0, planned.stderr
    lines = planned.stdout.splitlines()
    assert "ours       scale=paper, the published size" in lines
    assert (
        "plan: 2 runs in group mine-paper; 0 done, 0 begun, 2 to begin; nothing was started"
        in lines
    )
    assert "  - needs dataset.held_out_file=...: the published points" in lines
    assert not home.exists()


def test_what_a_scale_needs_is_asked_for_before_anything_starts(mine, home, lab_here):
    refused = lab_here("bench", mine, "--scale", "paper")
    assert refused.returncode == 2
    assert refused.stderr.startswith(
        "lab: suite mine at scale=paper needs dataset.held_out_file=...: the published points; "
    )
    assert refused.stderr.count("\n") == 1
    assert not home.exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--scale", "huge"], "suite mine has no scale 'huge'; allowed: tiny, paper"),
        (["seed=3"], "seed=3: the seeds of a suite are set by --seeds"),
        (["method=plain"], "method=plain: method is what the arms of suite mine differ in"),
        (["max_stepz=3"], "no key 'max_stepz'; did you mean"),
        (["--seeds", "0,0"], "seed 0 stands twice among the seeds; name it once"),
        (["--seeds", "x"], 'seed="x": input should be a valid integer'),
        (["--seeds", ""], "seed="),
        (["nonsense"], "cannot read 'nonsense', expected key=value"),
    ],
)
def test_words_that_do_not_fit_are_one_line(mine, lab_here, words, expected):
    refused = lab_here("bench", mine, *words)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"lab: {expected}"), refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_word_of_the_file_that_does_not_fit_names_its_line(mine, tmp_path, lab_here):
    file = tmp_path / mine
    file.write_text(file.read_text().replace("max_steps=2", "max_stepz=2"))
    refused = lab_here("bench", mine, "--dry-run")
    assert refused.stderr.startswith("lab: no key 'max_stepz'; did you mean ")
    assert refused.stderr.endswith(" (mine.yaml, line 7)\n")


def test_a_suite_that_leaves_out_every_run_is_refused(mine, tmp_path, lab_here):
    file = tmp_path / mine
    file.write_text(f"{file.read_text()}leave_out: [{{arm: plain}}, {{arm: momentum}}]\n")
    refused = lab_here("bench", mine)
    assert refused.stderr == (
        "lab: suite mine at scale=tiny holds no run: leave_out leaves none; "
        "take an entry out of it\n"
    )


def test_settings_that_were_changed_are_named_above_the_table(mine, lab_here):
    looked = lab_here("bench", mine, "learning_rate=0.5", "--report-only")
    assert "CHANGED    not the suite's settings: learning_rate=0.5" in looked.stdout.splitlines()
    same = lab_here("bench", mine, "resources.num_cpus=1", "launcher=local", "--report-only")
    assert "CHANGED" not in same.stdout
    assert "with       resources.num_cpus=1 launcher=local" in same.stdout.splitlines()


def test_published_numbers_of_other_rows_are_called_so(mine, tmp_path, lab_here):
    file = tmp_path / mine
    file.write_text(file.read_text().replace(", published: {plain: 1.50, momentum: 0.25}", ""))
    looked = lab_here("bench", mine, "--report-only").stdout
    assert "published (nothing of it was run here)" in looked
    assert "other mse" in looked


def test_the_suites_are_listed_one_line_each(lab_here):
    listed = lab_here("bench").stdout.splitlines()
    assert len(listed) == len(finding.files()) + 1
    (line,) = [line for line in listed if line.startswith("rlrt-main ")]
    assert "tiny, paper" in line
    assert line.endswith("?")


def test_where_no_suites_are_found_one_line_says_so(lab_here, monkeypatch, tmp_path):
    monkeypatch.setattr(finding, "PLACES", (tmp_path,))
    assert lab_here("bench").stdout == f"{finding.nowhere()}\n"
    refused = lab_here("bench", "rlrt-main")
    assert refused.stderr.startswith("lab: no suite 'rlrt-main'; the published suites were not ")
    assert refused.stderr.count("\n") == 1


def test_a_misspelt_suite_names_the_nearest(lab_here):
    refused = lab_here("bench", "rlrt-mian")
    assert refused.stderr.startswith("lab: no suite 'rlrt-mian'; did you mean 'rlrt-main'? suites")


def test_a_file_of_words_is_run_with_what_is_typed(example, home, tmp_path, lab_here, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.yaml").write_text(
        "plugin: example\ntrainer: {max_steps: 3}\narms: {a: method=plain, b: method=momentum}\n"
    )
    done = lab_here("run", "@my.yaml", "-m", "seed=1", "group=words")
    assert done.returncode == 0, done.stderr
    assert set(states(home)) == {"plain 1", "momentum 1"}
    assert {r.experiment().settings["trainer"]["max_steps"] for r in all_runs(home)} == {3}
    refused = lab_here("run", "@my.yaml", "seed=1,2")
    assert refused.stderr.startswith("lab: a value with commas is a sweep: add -m")


def test_a_suite_that_is_detached_ends_at_once_and_is_reported_later(mine, home, lab_here, release):
    begun = lab_here("bench", mine, "--detach", "--seeds", "0")
    assert begun.returncode == 0, begun.stderr
    lines = begun.stdout.splitlines()
    assert "results  lab compare --group mine-tiny" in lines
    assert not any(line.startswith("runs     2 of 2 done") for line in lines)
    release.touch()
    wait_for(lambda: set(states(home).values()) == {"done"})
    again = lab_here("bench", mine, "--seeds", "0")
    assert "lab: 2 of 2 runs of mine-tiny are done or under way; 0 go on, 0 begin" in again.stderr
    assert "runs     2 of 2 done" in again.stdout.splitlines()


def test_a_failed_run_is_named_and_gives_the_exit_code(mine, home, tmp_path, lab_here, release):
    (tmp_path / "hold.py").write_text("raise RuntimeError('asked for')\n")
    failed = lab_here("bench", mine, "--seeds", "0", "max_retries=0")
    assert failed.returncode == 1, failed.stdout
    assert "failed (exit 1)" in failed.stdout
    assert "runs     1 of 2 done, 1 failed" in failed.stdout.splitlines()
    (tmp_path / "hold.py").write_text("")
    mended = lab_here("bench", mine, "--seeds", "0")
    assert mended.returncode == 0, mended.stderr
    assert "1 of 2 runs of mine-tiny are done or under way; 1 go on, 0 begin" in mended.stderr
