"""Weights & Biases: one run there for each run here, with its settings as the config.

Whether it goes to a server, and to which, its own variables say (WANDB_MODE, WANDB_BASE_URL, ...).
"""

import hashlib
from collections.abc import Iterable
from typing import Any

from labrun.config.credentials import masked
from labrun.results.sinks.feed import Point
from labrun.runs.facts import settings_of
from labrun.runs.run_dir import RunDir
from labrun.system.json_files import read_object, write_json

FILE = "wandb.json"
PROJECT = "labrun"
LONGEST_ID = 100


class Sink:
    """A run there cannot lose a point again. So `wandb.json` holds the last step that was sent of
    each metric, and an earlier one is not sent twice: exact resume computes the same value.

    The file is written before the points are sent: a kill between the two loses them there.
    """

    def __init__(self, run: RunDir) -> None:
        import wandb

        experiment = run.experiment()
        self._path = run.path / FILE
        self._sent: dict[str, int] = self._known()
        settings = {k: masked(v) if isinstance(v, str) else v for k, v in settings_of(run).items()}
        quiet = wandb.Settings(silent=True, console="off")
        self._run: Any = wandb.init(
            project=PROJECT,
            id=_id_of(run),
            name=run.id,
            group=experiment.run.group,
            tags=[experiment.plugin],
            config=settings,
            dir=str(run.path),
            resume="allow",
            reinit="create_new",
            settings=quiet,
        )
        self._run.define_metric("*", step_metric="step")

    def _known(self) -> dict[str, int]:
        try:
            return dict(read_object(self._path))
        except FileNotFoundError:
            return {}

    def write(self, points: Iterable[Point]) -> None:
        by_step: dict[int, dict[str, float]] = {}
        for point in points:
            if point.step > self._sent.get(point.name, -1):
                by_step.setdefault(point.step, {})[point.name] = point.value
        if not by_step:
            return
        for step, values in by_step.items():
            self._sent |= {name: max(step, self._sent.get(name, -1)) for name in values}
        write_json(self._path, self._sent)
        for step in sorted(by_step):
            self._run.log({**by_step[step], "step": step})

    def close(self, state: str) -> None:
        self._run.finish(exit_code=0 if state == "done" else 1)


def _id_of(run: RunDir) -> str:
    if len(run.id) <= LONGEST_ID:
        return run.id
    return f"{run.id[:LONGEST_ID]}-{hashlib.sha256(run.id.encode()).hexdigest()[:8]}"
