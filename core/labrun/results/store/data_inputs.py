"""The data of a run as MLflow's dataset input."""

import json
from typing import NamedTuple

from labrun.errors import LabError
from labrun.plain import flat
from labrun.results.store.names import stored_value
from labrun.runs.run_dir import RunDir

DIGEST = 12
"""Hexadecimal digits of the fingerprint, as many as `lab compare` prints."""
SOURCE_TYPE = "code"
CONTEXT = ("mlflow.data.context", "training")


class DataInput(NamedTuple):
    """The columns of MLflow's table of datasets; `source` and `profile` are JSON."""

    name: str
    digest: str
    source: str
    profile: str


def data_input_of(run: RunDir) -> DataInput | None:
    """The data that the run read; None before it has read any, or where data.json is damaged."""
    try:
        fingerprint = run.data_fingerprint()
    except LabError:
        return None
    if fingerprint is None:
        return None
    experiment = run.experiment()
    component = experiment.components.get("dataset", experiment.plugin)
    tags = {"mlflow.source.name": component, "mlflow.source.type": "LOCAL"}
    settings = {k: stored_value(v) for k, v in flat(experiment.settings.get("dataset", {}))}
    name = component.rpartition(".")[2]
    return DataInput(name, fingerprint[:DIGEST], json.dumps({"tags": tags}), json.dumps(settings))
