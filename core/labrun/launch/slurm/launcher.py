"""`launcher=slurm`: one job a run, an array for a sweep."""

import itertools
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from labrun.errors import LabError
from labrun.experiment import Experiment, RunConfig
from labrun.launch.launchers import Word
from labrun.launch.slurm import commands, script
from labrun.launch.slurm.probe import refuse_unseen
from labrun.launch.slurm.script import Batch
from labrun.runs.run_dir import RunDir
from labrun.runs.submission import Submitted

FRESH_S = 30.0
"""Seconds for which a job may be submitted and not yet listed."""


class Slurm:
    """SLURM, by its own commands on PATH."""

    def check(self, runs: Sequence[RunConfig], *, home: Path | None) -> None:
        for config in {_request(run): run for run in runs}.values():
            batch = Batch(config, [(home or Path("/")) / "run-s0-0-0-0"])
            commands.refuse_infeasible(script.text(batch), without=script.beaten(batch))
        if home is not None:
            refuse_unseen(home, runs[0])

    def submit(self, runs: Sequence[RunDir]) -> Iterator[tuple[RunDir, Submitted]]:
        configs = {run.path: run.experiment().run for run in runs}
        (runs[0].path.parent / ".slurm").mkdir(exist_ok=True)
        before: dict[RunConfig, str] = {}
        for paths in _batches(configs, commands.largest_array()):
            config = configs[paths[0]]
            batch = Batch(config, paths, after=before.get(_request(config), ""))
            job = commands.submit(script.text(batch), without=script.beaten(batch))
            if config.slurm.max_running:  # the bound holds for all arrays of a sweep together
                before[_request(config)] = job
            for number, path in enumerate(paths):
                own = f"{job}_{number}" if len(paths) > 1 else job
                yield RunDir(path), Submitted("slurm", own, "", socket.gethostname(), time.time())

    def look(self, jobs: Sequence[Submitted]) -> Mapping[Submitted, Word]:
        words = commands.look([job.id for job in jobs]) if jobs else {}
        return {job: _patient(words[job.id], job) for job in jobs}

    def cancel(self, jobs: Sequence[Submitted], *, now: bool) -> None:
        words = self.look(jobs)
        if unknown := [word for word in words.values() if word.state == "unknown"]:
            raise LabError(unknown[0].reason)
        asked = [] if now else [job.id for job in jobs if words[job].state == "running"]
        ended = [job.id for job in jobs if job.id not in asked and words[job].state != "gone"]
        if asked:
            commands.call("scancel", "--signal=TERM", *asked)
        if ended:
            commands.call("scancel", *ended)

    def plan(self, experiments: Sequence[Experiment]) -> str:
        paths = {
            Path(f"{e.plugin}-{e.choices.get('method', 'run')}-s{e.run.seed}-DATE-TIME-{i}"): e.run
            for i, e in enumerate(experiments)
        }
        groups = _batches(paths, commands.largest_array())
        batches = [Batch(paths[group[0]], group) for group in groups]
        return "\n".join(f"sbatch <<'END'\n{script.text(batch)}END" for batch in batches)


def _batches(configs: Mapping[Path, RunConfig], most: int) -> list[list[Path]]:
    """The runs that can be one array: those of equal requests, at most so many."""
    ordered = sorted(configs, key=lambda path: repr(_request(configs[path])))
    groups = itertools.groupby(ordered, key=lambda path: _request(configs[path]))
    alike = [list(group) for _, group in groups]
    return [group[i : i + most] for group in alike for i in range(0, len(group), most)]


def _request(config: RunConfig) -> RunConfig:
    """What a run asks of SLURM; equal for the runs of one array."""
    return RunConfig(group=config.group, resources=config.resources, slurm=config.slurm)


def _patient(word: Word, job: Submitted) -> Word:
    """`unknown` where a job is gone that SLURM may only not list yet."""
    if word.state == "gone" and not word.reason and time.time() - job.time < FRESH_S:
        return replace(word, state="unknown", reason="just submitted")
    return word
