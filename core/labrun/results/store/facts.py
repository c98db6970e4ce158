"""What a results store says of a run beside its points: settings, tags, state."""

import socket
from dataclasses import dataclass
from pathlib import Path

from labrun.config.credentials import holds_secret, masked
from labrun.config.words import command_line
from labrun.experiment import RunConfig
from labrun.plain import flat, to_plain
from labrun.results.store.names import name_tags, stored_name, stored_value
from labrun.results.store.run_names import RunNames
from labrun.results.store.said import NAME_TAG, shown_name
from labrun.runs.run_dir import RunDir

EXPERIMENT = "labrun"
"""The experiment of all runs, so that MLflow shows those of several plugins side by side."""
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""What makes MLflow open the experiment with its training runs."""
STATES = {"done": "FINISHED", "running": "RUNNING", "queued": "SCHEDULED", "preempted": "KILLED"}
ID_TAG = "labrun.id"
FOLDER_TAG = "labrun.directory"
HOST_TAG = "labrun.host"


@dataclass(frozen=True)
class Facts:
    """What a run is in the store, which does not change while it goes."""

    name: str
    user: str
    source: str
    """The command that made the run."""
    created_ms: int
    params: dict[str, str]
    tags: dict[str, str]


def facts_of(run: RunDir, names: RunNames) -> Facts:
    """The run's facts under the store's names. Raises LabError where its spec is damaged."""
    experiment = run.experiment()
    facts = {
        "plugin": experiment.plugin,
        "seed": str(experiment.run.seed),
        "group": experiment.run.group,
        **experiment.choices,
    }
    params = facts | dict(flat(experiment.settings)) | _own_settings(experiment.run)
    tags = {stored_name(k): stored_value(v) for k, v in facts.items()}
    name = shown_name(run, names)
    source = stored_value(f"lab run {masked(command_line(experiment.overrides))}")
    user = _owner(run)
    seen = {
        NAME_TAG: name,
        "mlflow.user": user,
        "mlflow.source.name": source,
        "mlflow.source.type": "LOCAL",
    }
    return Facts(
        name=name,
        user=user,
        source=source,
        created_ms=int(run.created() * 1000),
        params={stored_name(k): _param(v) for k, v in params.items()},
        tags=tags | seen | name_tags([*params, *facts]) | place_of(run),
    )


def _owner(run: RunDir) -> str:
    """Who made the run's directory; the number of a user whom this machine does not know."""
    try:
        return run.path.owner()
    except KeyError:
        return str(run.path.stat().st_uid)


def _own_settings(run: RunConfig) -> dict[str, object]:
    """The settings of the run itself, without those of another launcher than its own."""
    plain = to_plain(run)
    if run.launcher != "slurm":
        del plain["slurm"]
    return dict(flat(plain))


def _param(value: object) -> str:
    """The setting as it is stored; runs of earlier versions may hold an address with a secret."""
    if isinstance(value, str) and holds_secret(value):
        value = masked(value)
    return stored_value(value)


def place_of(run: RunDir) -> dict[str, str]:
    """The tags that say which run it is and where its directory lies."""
    return {ID_TAG: run.id, FOLDER_TAG: str(run.path), HOST_TAG: socket.gethostname()}


def state_of(state: str) -> str:
    """MLflow's word for the state."""
    return STATES.get(state, "FAILED")


def artifact_folder(home: Path) -> str:
    """Where the artifacts of the experiment lie, as a URI."""
    return (home / "mlflow-artifacts" / EXPERIMENT).absolute().as_uri()
