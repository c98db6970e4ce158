"""One life of a scheduler's job: when it goes on, when it ends, what it refuses."""

import json
import os

import pytest
from labrun.config.experiments import compose
from labrun.launch import job, requeues
from labrun.runs import run_dir, submission

STOPS = "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n"


@pytest.fixture
def run(home, example, tmp_path):
    """`run(*words)`: a run of the example plugin, on slurm."""

    def create(*words: str) -> run_dir.RunDir:
        words = ("plugin=example", "launcher=slurm", "evaluate_start=false", *words)
        return run_dir.create(compose(list(words)), root=home)

    return create


@pytest.fixture
def live(monkeypatch):
    """`live(run, life)`: the exit code of this life of the job 5."""

    def begin(one: run_dir.RunDir, life: int = 0) -> int:
        monkeypatch.setenv("LABRUN_JOB", f"slurm 5 {life}")
        return job.main([str(one.path)])

    return begin


def test_a_job_that_is_done_has_code_0_and_leaves_its_name(run, live):
    one = run("max_steps=2")
    assert live(one) == 0
    assert one.recorded_status().state == "done"
    assert submission.read(one.path).id == "5"
    assert not (one.path / requeues.AGAIN).exists()
    assert live(one, 1) == 0
    assert [event["kind"] for event in one.events()].count("attempt") == 1


def test_a_job_s_own_folder_is_the_home_of_what_it_makes(run, live, home, tmp_path, monkeypatch):
    monkeypatch.delenv("LABRUN_HOME")
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "say.py"
    script.write_text("import os\nctx.write_text('home', os.environ['LABRUN_HOME'])\n")
    one = run("max_steps=2", f"trainer.trouble.script={script}")
    assert live(one) == 0
    assert (one.artifacts / "home").read_text() == str(home)


def test_a_job_that_was_stopped_waits_to_go_on(run, live, tmp_path):
    script = tmp_path / "stop.py"
    script.write_text(STOPS)
    one = run(f"trainer.trouble.script={script}", "max_steps=6")
    assert live(one) == 75
    status = one.status()
    assert (status.state, status.process) == ("queued", "slurm 5")
    assert (one.path / requeues.AGAIN).exists()
    assert live(one, 1) == 0
    assert not (one.path / requeues.AGAIN).exists()
    begun = [event["resumed_from"] for event in one.events() if event["kind"] == "attempt"]
    assert begun == [None, 2]


def test_a_job_that_never_saves_a_further_checkpoint_ends_with_what_to_raise(
    run, live, tmp_path, monkeypatch
):
    script = tmp_path / "stop.py"
    script.write_text(f"ctx.save_checkpoint = lambda *_: None\n{STOPS}")
    limit = ["resources.time_limit=30", "slurm.max_requeues=1"]
    one = run(f"trainer.trouble.script={script}", *limit)
    assert live(one) == 75
    assert one.recorded_status().state == "queued"
    assert live(one, 1) == 1
    status = one.recorded_status()
    assert status.state == "failed"
    assert status.message.startswith(
        "2 jobs in a row saved no checkpoint after its beginning; raise resources.time_limit "
        "(now 30 min) or resources.save_ahead_s"
    )
    assert not (one.path / requeues.AGAIN).exists()


def test_a_cancelled_job_does_not_begin(run, live):
    one = run()
    submission.cancel(one.path)
    live(one)
    status = one.recorded_status()
    assert (status.state, status.message) == ("preempted", "cancelled before it started")
    assert not (one.path / requeues.AGAIN).exists()


def test_a_job_with_fewer_gpus_than_the_run_asks_for_is_refused(run, live, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    one = run("resources.num_gpus=1")
    assert live(one) == 2
    status = one.recorded_status()
    assert status.state == "refused"
    assert status.message.startswith("resources.num_gpus=1: the scheduler gave 0")


def test_a_job_whose_run_another_keeps_is_left_alone(run, live, monkeypatch):
    monkeypatch.setattr(job, "HANDOVER_S", 0.0)
    one = run()
    handle = one.claim()
    before = one.recorded_status()
    assert live(one) == 1
    assert one.recorded_status() == before
    os.close(handle)


def test_a_life_that_a_later_one_has_followed_ends_without_a_word(run, live, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "FENCE_S", 0.1)
    script = tmp_path / "later.py"
    later = json.dumps({"job": "slurm 5 1"})
    script.write_text(f"(ctx.run_dir / '.job.json').write_text({later!r})\n")
    one = run(f"trainer.trouble.script={script}", "trainer.trouble.hang_at_step=4")
    assert live(one) == 0
    assert one.recorded_status().state == "killed"
    assert not (one.path / requeues.AGAIN).exists()
