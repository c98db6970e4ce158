"""`launcher=ray`: one Ray Job a run, and a keeper for those of one LABRUN_HOME."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from labrun.errors import LabError
from labrun.experiment import Experiment, RunConfig
from labrun.launch import requeues
from labrun.launch.launchers import Word
from labrun.launch.ray import keeping, request
from labrun.launch.ray.cluster import Cluster, RayJob
from labrun.launch.ray.probe import refuse_unseen
from labrun.runs import submission
from labrun.runs.run_dir import RunDir
from labrun.runs.submission import Submitted

FRESH_S = 30.0
"""Seconds for which a job may be recorded and not yet submitted."""


class Ray:
    """Ray clusters, by the addresses of their dashboards."""

    def check(self, runs: Sequence[RunConfig], *, home: Path | None) -> None:
        cluster = Cluster(_address(runs))
        nodes = cluster.nodes()
        for config in {(run.resources, run.ray): run for run in runs}.values():
            request.refuse_infeasible(config, nodes)
        if home is not None:
            refuse_unseen(home, runs[0], cluster)

    def submit(self, runs: Sequence[RunDir]) -> Iterator[tuple[RunDir, Submitted]]:
        configs = {run.path: run.experiment().run for run in runs}
        first = configs[runs[0].path]
        cluster = Cluster(first.ray.address)
        try:
            yield from _handed_in(configs, cluster)
        except LabError:
            with suppress(LabError):  # those before are submitted
                keeping.ensure(cluster, runs[0].path.parent, first.ray)
            raise
        keeping.ensure(cluster, runs[0].path.parent, first.ray)

    def look(self, jobs: Sequence[Submitted]) -> Mapping[Submitted, Word]:
        words: dict[Submitted, Word] = {}
        for place in {job.place for job in jobs}:
            own = [job for job in jobs if job.place == place]
            try:
                known = Cluster(place).jobs()
            except LabError as error:
                words |= {job: Word("unknown", reason=str(error)) for job in own}
                continue
            words |= {job: _word(job, known) for job in own}
        return words

    def cancel(self, jobs: Sequence[Submitted], *, now: bool) -> None:
        for place in {job.place for job in jobs}:
            cluster = Cluster(place)
            known = cluster.jobs()
            ids = [job.id for job in jobs if job.place == place and job.id in known]
            live = [known[one] for one in ids if not known[one].has_ended]
            # Ray would start what waits, and stop it then.
            ended = [job for job in live if now or job.state == "PENDING"]
            for job in live:
                if job not in ended:
                    cluster.stop(job.id)
            if ended:
                keeping.end_at_once(cluster, ended)

    def plan(self, experiments: Sequence[Experiment]) -> str:
        lines = []
        for number, one in enumerate(experiments):
            method = one.choices.get("method", "run")
            name = f"{one.plugin}-{method}-s{one.run.seed}-DATE-TIME-{number}"
            asked = request.of(Path("LABRUN_HOME") / name, one.run, number=0)
            kind = "".join(f" {key}={value:g}" for key, value in asked.resources.items())
            wanted = f"num_cpus={asked.num_cpus:g} num_gpus={asked.num_gpus:g}{kind}"
            lines.append(f"{asked.id}: {wanted}\n  {asked.entrypoint}")
        return "\n".join([f"Ray Jobs of {_address([one.run for one in experiments])}", *lines])


def _handed_in(
    configs: Mapping[Path, RunConfig], cluster: Cluster
) -> Iterator[tuple[RunDir, Submitted]]:
    for path, config in configs.items():
        run = RunDir(path)
        number = request.next_number(submission.read(path))
        asked = request.of(path, config, number=number)
        job = request.submitted(asked.id, config, number=number)
        requeues.begin(run, life=number, anew=True)
        submission.write(path, job)  # first, so that no id is used twice
        cluster.submit(asked)
        yield run, job


def _address(runs: Sequence[RunConfig]) -> str:
    addresses = sorted({run.ray.address for run in runs})
    if len(addresses) > 1:
        raise LabError(f"ray.address={','.join(addresses)}: a command has one cluster; name one")
    return addresses[0]


def _word(submitted: Submitted, known: Mapping[str, RayJob]) -> Word:
    job = known.get(submitted.id)
    if job is None and time.time() - submitted.time < FRESH_S:
        return Word("unknown", reason="just submitted")
    if job is None:
        return Word("gone", reason="its cluster knows it no more")
    if job.state == "PENDING":
        return Word("waiting")
    if job.state == "RUNNING":
        return Word("running", where=job.where)
    if job.goes_on and job.run is not None and keeping.is_kept(job.run.parent, known):
        return Word("waiting", where=job.where, reason=f"it is submitted again after {job.ending}")
    return Word("gone", where=job.where, reason=job.ending)
