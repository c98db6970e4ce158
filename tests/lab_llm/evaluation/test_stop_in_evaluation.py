"""SIGTERM while an evaluation samples: no step is lost, and the run ends with equal numbers."""

import signal

import pytest
from lab_llm.datasets.countdown import CountdownDataset
from lab_llm.sampling.batch_engines import DecoderEngine
from labrun import worker
from labrun.config.experiments import compose
from labrun.errors import EXIT_DONE, EXIT_PREEMPTED
from labrun.runs import run_dir

# three sets of four problems, two at a time: six batches an evaluation, at steps 0, 1 and 2
SETTINGS = ["plugin=rlrt", "seed=2", "evaluate_every=1", "learning_rate=1e-3"]
SETTINGS += ["prompts_per_step=2", "num_generations=4", "max_completion_length=24"]
SETTINGS += ["max_problems=4", "accuracy.num_samples=1", "accuracy.batch_size=2"]
SETTINGS += ["accuracy.max_new_tokens=8"]


@pytest.fixture(autouse=True)
def handler():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run = run_dir.create(compose([*SETTINGS, "max_steps=2"]), root=tmp_path_factory.mktemp("whole"))
    assert worker.main([str(run.path)]) == EXIT_DONE
    return run


def create(root, *settings, max_steps=2):
    settings = (*settings, f"max_steps={max_steps}")
    return run_dir.create(compose([*SETTINGS, *settings]), root=root)


def attempt(run, monkeypatch, *, stop_at=0):
    """The exit code of one attempt, SIGTERM while batch `stop_at` is sampled, and the batches."""
    original, batches = DecoderEngine._sample, []

    def sampling(self, *rest):
        batches.append(sorted(path.name for path in run.checkpoints.glob("[0-9]*")))
        if len(batches) == stop_at:
            signal.raise_signal(signal.SIGTERM)
        return original(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(DecoderEngine, "_sample", sampling)
        return worker.main([str(run.path)]), batches


def outcome(run):
    series = {k: v for k, v in run.series().items() if not k.startswith("time/")}
    completions = [p.read_bytes() for p in sorted((run.artifacts / "completions").iterdir())]
    weights = (run.artifacts / "model" / "model.safetensors").read_bytes()
    return series, run.scores(), completions, weights


@pytest.mark.parametrize(
    ("stop_at", "save_every", "on_disk", "stopped_at", "left"),
    [
        (1, 1, [], 0, 18),  # before the first step: begins again
        (8, 1, ["00000001"], 1, 12),  # of step 1, which has its checkpoint
        (8, 5, [], 1, 12),  # of step 1, whose checkpoint is written by the stop
        (16, 1, ["00000001", "00000002"], 2, 6),  # the last evaluation: nothing is trained again
    ],
)
def test_a_stop_is_answered_between_batches_and_the_resumed_run_is_the_whole_one(
    tmp_path, monkeypatch, whole, stop_at, save_every, on_disk, stopped_at, left
):
    run = create(tmp_path, f"save_every={save_every}")
    code, batches = attempt(run, monkeypatch, stop_at=stop_at)
    assert (code, run.status().state) == (EXIT_PREEMPTED, "preempted")
    assert len(batches) == stop_at
    assert batches[-1] == on_disk
    assert sorted(run.series().get("loss", {})) == list(range(1, stopped_at + 1))
    assert {step for scores in run.scores().values() for step in scores} == set(range(stopped_at))
    sealed = max(run.checkpoints.glob("[0-9]*"), default=None)
    assert sealed is None if stopped_at == 0 else sealed.name == f"{stopped_at:08d}"
    code, batches = attempt(run, monkeypatch)
    assert (code, len(batches)) == (EXIT_DONE, left)
    assert outcome(run) == outcome(whole)
    scored = [(e["step"], e["score"]) for e in run.current_events() if e["kind"] == "score"]
    assert len(scored) == sum(len(steps) for steps in whole.scores().values())


def test_a_run_that_only_evaluates_does_not_end_as_done(tmp_path, monkeypatch):
    run = create(tmp_path, max_steps=0)
    code, batches = attempt(run, monkeypatch, stop_at=1)
    assert (code, run.status().state, len(batches)) == (EXIT_PREEMPTED, "preempted", 1)
    assert run.scores() == {}
    code, batches = attempt(run, monkeypatch)
    assert (code, run.status().state, len(batches)) == (EXIT_DONE, "done", 6)
    assert {step for scores in run.scores().values() for step in scores} == {0}


def test_a_stop_while_the_data_are_loaded_trains_and_scores_nothing(tmp_path, monkeypatch):
    run, original = create(tmp_path), CountdownDataset.load

    def load(self, ctx=None):
        signal.raise_signal(signal.SIGTERM)
        return original(self, ctx)

    with monkeypatch.context() as patch:
        patch.setattr(CountdownDataset, "load", load)
        assert worker.main([str(run.path)]) == EXIT_PREEMPTED
    assert (run.series(), run.scores()) == ({}, {})


def test_a_stop_before_the_parts_are_built_is_not_lost(tmp_path, monkeypatch):
    run, original = create(tmp_path), worker.build

    def build(experiment):
        signal.raise_signal(signal.SIGTERM)
        return original(experiment)

    monkeypatch.setattr(worker, "build", build)
    assert worker.main([str(run.path)]) == EXIT_PREEMPTED
    assert run.status().state == "preempted"
