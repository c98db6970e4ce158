"""A whole job under the watchdog: slow work lives, stuck work is ended with its stage named."""

import subprocess
import sys
import time
from pathlib import Path

import warm
from labrun.attempts.ranks import Ending
from labrun.config.experiments import compose
from labrun.errors import EXIT_HANG
from labrun.launch import endings
from labrun.launch.jobs import Job
from labrun.runs import run_dir

SLOW_WORKER = Path(warm.__file__).with_name("slow_worker.py")
TIMEOUT_S = 2.0
WORDS = ["plugin=rlrt", "max_steps=1", "prompts_per_step=2", "num_generations=4"]
WORDS += ["trainer.max_completion_length=16", "evaluate_start=false"]
WORDS += [f"hang_timeout_s={TIMEOUT_S:g}"]


def stage_of(run):
    return run.progress().get("stage")


def test_a_job_that_samples_slowly_lives_and_is_ended_in_the_stage_where_it_is_stuck(tmp_path):
    experiment = compose(WORDS)
    run = run_dir.create(experiment, root=tmp_path / "home")
    words = [sys.executable, str(SLOW_WORKER), str(run.path)]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    while stage_of(run) != "sample":
        assert process.poll() is None
        time.sleep(0.05)
    began, sampled_s = time.monotonic(), 0.0
    job = Job(run, experiment.run, 0, process, report=-1, oom_kills=0)
    while (code := job.poll()) is None:
        if not sampled_s and stage_of(run) == "teacher":
            sampled_s = time.monotonic() - began
        time.sleep(0.05)
    assert sampled_s > TIMEOUT_S
    told = f"no sign of life for {TIMEOUT_S:g} s, in the stage 'teacher'"
    assert endings.of_job(job, code) == Ending("hung", EXIT_HANG, told)
