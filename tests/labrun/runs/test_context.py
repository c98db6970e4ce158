import json
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from labrun.errors import LabError, PreemptedError
from labrun.plan import Plan, Setup
from labrun.runs import checkpoints
from labrun.runs.context import RunContext


@pytest.fixture
def context(make_run):
    def make(seed=0, attempt=0, resume_from=None, run=None, **rest):
        return RunContext(
            run=run or make_run(state="running"),
            seed=seed,
            attempt=attempt,
            devices=(),
            resume_from=resume_from,
            keep_checkpoints=2,
            **rest,
        )

    return make


def test_derived_seeds_are_equal_for_equal_names(context):
    assert context(seed=3).derive_seed("rollouts", 5) == context(seed=3).derive_seed("rollouts", 5)


def test_derived_seeds_differ_by_run_seed_name_and_step(context):
    one = context(seed=3)
    seeds = {
        one.derive_seed("rollouts", 5),
        one.derive_seed("rollouts", 6),
        one.derive_seed("prompts", 5),
        one.derive_seed("rollouts"),
        one.derive_seed("rollouts", "5"),
        context(seed=4).derive_seed("rollouts", 5),
    }
    assert len(seeds) == 6


def test_derived_seeds_have_63_bits(context):
    seeds = [context(seed=s).derive_seed("a") for s in range(20)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**58


def test_a_stream_is_the_same_at_every_attempt(context):
    first = context(seed=1, attempt=0).rng("batch", 2).standard_normal(4)
    again = context(seed=1, attempt=1).rng("batch", 2).standard_normal(4)
    assert first.tolist() == again.tolist()
    other = context(seed=1).rng("batch", 3).standard_normal(4)
    assert not np.any(first == other)


def test_a_stream_does_not_touch_global_random_state(context):
    np.random.seed(0)
    before = np.random.get_state()[1].tolist()
    context().rng("a").standard_normal(10)
    assert np.random.get_state()[1].tolist() == before


def test_log_appends_one_event_and_keeps_the_step(context):
    ctx = context()
    ctx.log(4, {"loss": np.float32(0.5)})
    assert ctx.step == 4
    assert ctx.run.series() == {"loss": {4: 0.5}}


@pytest.mark.parametrize("step", [1.5, 2.0, np.float64(3), "4", None])
def test_a_step_that_is_no_whole_number_is_refused_and_no_point_is_lost(context, step):
    ctx = context()
    with pytest.raises(TypeError):
        ctx.log(step, {"loss": 0.5})
    with pytest.raises(TypeError):
        ctx.evaluate(None, None, step=step)
    ctx.log(np.int64(5), {"loss": 0.25})
    assert ctx.run.series() == {"loss": {5: 0.25}}


LOGS = """
import mmap, struct, sys
from pathlib import Path
from labrun.runs.context import RunContext
from labrun.runs.run_dir import RunDir
run = RunDir(Path(sys.argv[1]))
ctx = RunContext(run, seed=0, attempt=0, devices=(), resume_from=None, keep_checkpoints=1)
with open(sys.argv[2], "r+b") as file:
    logged = mmap.mmap(file.fileno(), 8)
for step in range(1, 10**9):
    ctx.log(step, {"loss": step / 7, "reward": -step})
    struct.pack_into("q", logged, 0, step)
"""
"""Logs without end; the last step that was logged stands in a file that outlives the process."""


def test_a_kill_loses_no_point_whose_log_has_returned(make_run, tmp_path):
    run, counter = make_run(state="running"), tmp_path / "logged"
    counter.write_bytes(bytes(8))
    process = subprocess.Popen([sys.executable, "-c", LOGS, str(run.path), str(counter)])
    while (logged := struct.unpack("q", counter.read_bytes())[0]) < 1000:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    logged = struct.unpack("q", counter.read_bytes())[0]
    series = run.series()
    assert {s: series["loss"][s] for s in range(1, logged + 1)} == {
        s: s / 7 for s in range(1, logged + 1)
    }
    assert [series["reward"][s] for s in range(1, logged + 1)] == [-s for s in range(1, logged + 1)]
    assert len(series["loss"]) <= logged + 1


def test_start_attempt_mends_a_line_that_a_crash_cut_off(context, make_run, event):
    run = make_run(event.metrics(1, loss=3.0), event.metrics(2, loss=2.0))
    path = run.path / "events.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    ctx = context(run=run, attempt=1, resume_from=run.checkpoints / "00000001")
    ctx.start_attempt()
    ctx.log(2, {"loss": 1.5})
    assert [json.loads(line)["kind"] for line in path.read_text().splitlines()] == [
        "metrics",
        "attempt",
        "metrics",
    ]
    assert run.series() == {"loss": {1: 3.0, 2: 1.5}}


def test_checkpoints_are_kept_as_the_run_asks(context):
    ctx = context()
    for step in (1, 2, 3):
        ctx.save_checkpoint(step, lambda folder: (folder / "w").write_text("x"))
    assert sorted(p.name for p in ctx.run.checkpoints.iterdir()) == ["00000002", "00000003"]


def test_progress_is_written_whole_and_remembers_what_was_said(context):
    ctx = context()
    ctx.progress(step=0, total=9, stage="train")
    ctx.progress(stage="evaluate")
    said = json.loads((ctx.run.path / "progress.json").read_text())
    assert (said["step"], said["total"], said["stage"]) == (0, 9, "evaluate")


def test_what_was_counted_while_data_were_made_does_not_stand_for_training(context):
    ctx = context()
    ctx.progress(step=32, total=32, stage="load")
    ctx.count_anew()
    ctx.progress(stage="evaluate")
    said = ctx.run.progress()
    assert said["stage"] == "evaluate"
    assert not {"step", "total", "since"} & set(said)


def test_progress_says_that_the_run_is_stopping_once_it_was_asked_to(context):
    ctx = context()
    ctx.progress(step=3, stage="train")
    assert "stopping" not in ctx.run.progress()
    ctx.should_stop = True
    ctx.progress(step=4, stage="train")
    assert ctx.run.progress() == {"step": 4, "stage": "train", "stopping": True}


def test_after_a_checkpoint_and_an_evaluation_the_run_is_in_its_stage_again(context):
    ctx = context()
    ctx.progress(step=1, stage="train")
    seen = []
    ctx.save_checkpoint(1, lambda folder: seen.append(ctx.run.progress()["stage"]))
    ctx.evaluate(None, None, step=1)
    assert seen == ["checkpoint"]
    assert ctx.run.progress()["stage"] == "train"


def test_the_speed_of_a_stage_counts_from_its_first_step(context):
    ctx = context()
    path = ctx.run.path / "progress.json"

    def first():
        return json.loads(path.read_text())["since"][0]

    ctx.progress(step=2, total=10, stage="train")
    ctx.progress(step=4, total=10, stage="train")
    assert first() == 2
    said = json.loads(path.read_text())
    path.write_text(json.dumps(said | {"time": said["since"][1] + 6.0}))
    assert ctx.run.seconds_left() == pytest.approx(18.0)
    ctx.progress(stage="evaluate")
    assert first() == 4
    assert ctx.run.seconds_left() is None


def test_progress_without_a_stage_writes_at_most_five_times_a_second(context):
    ctx = context()
    ctx.progress(step=0, total=9, stage="train")
    for step in range(1, 50):
        ctx.progress(step=step)
    said = json.loads((ctx.run.path / "progress.json").read_text())
    assert said["step"] == 0


def test_evaluate_records_the_scores_of_every_evaluator(context):
    from labrun.score import Score

    class Constant:
        def __init__(self, task, value):
            self.task, self.value = task, value

        def plan(self, setup):
            return Plan()

        def evaluate(self, ctx, model, data):
            return [Score(self.task, "accuracy", self.value, 1, (self.value,))]

    ctx = context(evaluators=(Constant("a", 0.5), Constant("b", 1.0)))
    ctx.evaluate(None, None, step=7)
    values = {key: steps[7].value for key, steps in ctx.run.scores().items()}
    assert values == {("a", "accuracy"): 0.5, ("b", "accuracy"): 1.0}


class Counting:
    """An evaluator that counts its evaluations, and asks a run to stop in the first."""

    def __init__(self, task, *, stops=False):
        self.task, self.stops, self.steps = task, stops, []

    def plan(self, setup):
        return Plan()

    def evaluate(self, ctx, model, data):
        from labrun.score import Score

        if self.stops:
            raise PreemptedError("stopped between batches")
        self.steps.append(ctx.step)
        return [Score(self.task, metric, float(ctx.step), 1) for metric in ("accuracy", "length")]


def test_evaluators_are_planned_again_with_the_model_and_the_data(context):
    class Refusing(Counting):
        def plan(self, setup):
            raise LabError(f"{setup.model} on {setup.data} in {setup.num_processes}")

    context(evaluators=(Counting("a"),)).check_evaluators("model", "data")
    ctx = context(evaluators=(Refusing("a"),), setup=Setup(num_processes=2))
    with pytest.raises(LabError, match=r"^model on data in 2$"):
        ctx.check_evaluators("model", "data")


def test_a_resumed_evaluation_goes_on_with_the_evaluators_that_are_missing(context, make_run):
    run = make_run(state="running")
    parts = (Counting("a"), Counting("b", stops=True), Counting("c"))
    first = context(run=run, evaluators=parts)
    first.start_attempt()
    with pytest.raises(PreemptedError):
        first.evaluate(None, None, step=7)
    parts[1].stops = False
    again = context(run=run, evaluators=parts, attempt=1, resume_from=run.checkpoints / "00000007")
    again.start_attempt()
    found = again.evaluate(None, None, step=7)
    assert [part.steps for part in parts] == [[7], [7], [7]]
    assert [(score.task, score.metric) for score in found] == [
        (task, metric) for task in "abc" for metric in ("accuracy", "length")
    ]
    assert len([e for e in run.current_events() if e["kind"] == "score"]) == 6
    again.evaluate(None, None, step=8)
    assert [part.steps for part in parts] == [[7, 8], [7, 8], [7, 8]]


@pytest.mark.parametrize("resumed", [None, 5])
def test_a_replayed_step_is_scored_again(context, make_run, resumed):
    run, part = make_run(state="running"), Counting("a")
    first = context(run=run, evaluators=(part,))
    first.start_attempt()
    first.evaluate(None, None, step=7)
    sealed = None if resumed is None else run.checkpoints / f"{resumed:08d}"
    again = context(run=run, evaluators=(part,), attempt=1, resume_from=sealed)
    again.start_attempt()
    again.evaluate(None, None, step=7)
    assert part.steps == [7, 7]


def test_a_stop_is_answered_before_the_next_evaluator(context):
    class Stopping(Counting):
        def evaluate(self, ctx, model, data):
            ctx.should_stop = True
            return super().evaluate(ctx, model, data)

    parts = (Stopping("a"), Counting("b"))
    ctx = context(evaluators=parts)
    with pytest.raises(PreemptedError, match="stopped in the evaluation of step 7"):
        ctx.evaluate(None, None, step=7)
    assert [part.steps for part in parts] == [[7], []]
    assert {task for task, _ in ctx.run.scores()} == {"a"}


def test_notes_and_figures_are_kept_with_the_run(context):
    from matplotlib.figure import Figure

    ctx = context()
    ctx.note("the smaller model was used")
    assert [e["message"] for e in ctx.run.events() if e["kind"] == "note"] == [
        "the smaller model was used"
    ]
    path = ctx.figure("plots/one", Figure())
    assert path == ctx.run.artifacts / "plots" / "one.png"
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_rank_other_than_the_first_leaves_signs_of_life_alone(context, make_run):
    run = make_run(state="running")
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    ctx = context(run=run, rank=1, world_size=2, resume_from=run.checkpoints / "00000003")
    ctx.start_attempt()
    assert ctx.step == 3
    ctx.log(4, {"loss": 0.5})
    ctx.note("a note")
    ctx.progress(stage="train")
    ctx.artifact_path("completions/a.jsonl").write_text("x")
    assert ctx.step == 4
    before[run.path / ".beat"] = b""
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before
    assert list(run.artifacts.rglob("*")) == []


def test_a_checkpoint_holds_what_all_ranks_wrote_and_is_sealed_after_the_last(context, make_run):
    run = make_run(state="running")
    barrier = threading.Barrier(2)
    sealed = run.checkpoints / "00000005"
    seen = []

    def write(rank, folder):
        time.sleep(0.2 * rank)
        seen.append(sealed.exists())
        (folder / str(rank)).write_text(str(rank))

    def save(rank):
        ctx = context(run=run, rank=rank, world_size=2, barrier=barrier.wait)
        found.append(ctx.save_checkpoint(5, lambda folder: write(rank, folder)))
        assert sealed.exists()

    found = []
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(save, (0, 1)))
    assert seen == [False, False]
    assert found == [sealed, sealed]
    manifest = json.loads((sealed / "manifest.json").read_text())
    assert sorted(manifest["sha256"]) == ["0", "1"]
    assert checkpoints.latest(run.checkpoints) == sealed


def test_text_is_put_in_place_whole(context):
    ctx = context()
    for text in ("one", "zw\u00f6lf\n"):
        path = ctx.write_text("pages/told.txt", text)
        assert path == ctx.artifact_path("pages/told.txt")
        assert path.read_text(encoding="utf-8") == text
    assert [one.name for one in path.parent.iterdir()] == ["told.txt"]


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("../x", "'.' or '..'"),
        ("a/../../x", "'.' or '..'"),
        ("a/..", "'.' or '..'"),
        ("./a", "'.' or '..'"),
        (".", "'.' or '..'"),
        ("/etc/x", "it is absolute"),
        ("//x", "it is absolute"),
        ("", "a part of it is empty"),
        ("a//b", "a part of it is empty"),
        ("a/", "a part of it is empty"),
        ("a\0b", "it holds a NUL"),
        ("x" * 256, "longer than 255 bytes"),
        ("a/" + "é" * 128, "longer than 255 bytes"),
        ("/".join(["y" * 200] * 30), "the whole path is longer"),
        ("\ud800", "no text that a file system takes"),
    ],
)
@pytest.mark.parametrize("rank", [0, 1])
def test_no_name_leads_out_of_the_artifacts(context, name, fault, rank):
    ctx = context(rank=rank, world_size=2)
    before = sorted(ctx.run.path.parent.rglob("*"))
    for write in (ctx.artifact_path, lambda n: ctx.write_text(n, "text")):
        with pytest.raises(LabError, match=r"^artifact ") as refused:
            write(name)
        assert fault in str(refused.value)
        assert len(str(refused.value)) < 400
        assert "\n" not in str(refused.value)
    assert sorted(ctx.run.path.parent.rglob("*")) == before


@pytest.mark.parametrize("name", ["../x", "/x", "a//b", "x" * 252])
def test_no_figure_leads_out_of_the_artifacts(context, name):
    from matplotlib.figure import Figure

    with pytest.raises(LabError, match=r"^artifact "):
        context().figure(name, Figure())


def test_symbolic_links_that_lead_out_are_refused(context, tmp_path):
    ctx = context()
    outside = tmp_path / "outside"
    outside.mkdir()
    (ctx.run.artifacts / "folder").symlink_to(outside)
    (ctx.run.artifacts / "file").symlink_to(outside / "new")
    (ctx.run.artifacts / "ring").symlink_to(ctx.run.artifacts / "ring")
    for name in ("folder/x", "folder/y/z", "file", "ring/x"):
        with pytest.raises(LabError, match="a symbolic link leads out of"):
            ctx.write_text(name, "text")
    assert list(outside.iterdir()) == []


def test_links_inside_and_artifacts_that_lie_elsewhere_are_written(context, tmp_path):
    ctx = context()
    elsewhere = tmp_path / "disk"
    ctx.run.artifacts.rename(elsewhere)
    ctx.run.artifacts.symlink_to(elsewhere)
    (elsewhere / "real").mkdir()
    (elsewhere / "link").symlink_to(elsewhere / "real")
    ctx.write_text("link/a.txt", "one")
    assert (elsewhere / "real" / "a.txt").read_text() == "one"


@pytest.mark.parametrize("name", ["x" * 255, "..a/b..", "精度/a b.txt", "a\\b", "-"])
def test_ordinary_names_are_written_as_they_are(context, name):
    ctx = context()
    path = ctx.write_text(name, "text")
    assert path == ctx.run.artifacts / name
    assert [p for p in ctx.run.artifacts.rglob("*") if p.is_file()] == [path]


def strict(text):
    def refuse(constant):
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


def test_events_with_numbers_that_are_not_finite_are_json_and_read_back(context):
    from labrun.score import Score

    class Odd:
        def plan(self, setup):
            return Plan()

        def evaluate(self, ctx, model, data):
            return [Score("a", "m", float("nan"), 2, (float("inf"), 1.0))]

    ctx = context(evaluators=(Odd(),))
    ctx.log(1, {"loss": float("nan"), "up": float("inf"), "down": float("-inf"), "fine": 0.5})
    ctx.evaluate(None, None, step=1)
    lines = (ctx.run.path / "events.jsonl").read_text().splitlines()
    events = [strict(line) for line in lines]
    assert events[0]["metrics"] == {
        "loss": "NaN",
        "up": "Infinity",
        "down": "-Infinity",
        "fine": 0.5,
    }
    series = ctx.run.series()
    assert series["loss"][1] != series["loss"][1]
    assert (series["up"][1], series["down"][1], series["fine"][1]) == (np.inf, -np.inf, 0.5)
    score = ctx.run.scores()["a", "m"][1]
    assert score.value != score.value
    assert list(score.items) == [np.inf, 1.0]


def test_a_note_that_says_nan_stays_a_text(context):
    ctx = context()
    ctx.note("NaN")
    assert [event["message"] for event in ctx.run.events()] == ["NaN"]


def test_lines_of_older_runs_with_bare_nan_are_read(context):
    ctx = context()
    line = '{"time": 1.0, "kind": "metrics", "step": 1, "metrics": {"loss": NaN, "up": Infinity}}\n'
    (ctx.run.path / "events.jsonl").write_text(line)
    series = ctx.run.series()
    assert series["loss"][1] != series["loss"][1]
    assert series["up"] == {1: np.inf}
