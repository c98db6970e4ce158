"""What a results store says of a run beside its points: settings, tags, state, pictures."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labrun.config.credentials import holds_secret, masked
from labrun.experiment import RunConfig
from labrun.plain import flat, to_plain
from labrun.results.store.names import LONGEST, name_tags, stored_name, stored_value
from labrun.runs.run_dir import RunDir

PICTURES = (".png", ".gif")
STATES = {"done": "FINISHED", "running": "RUNNING", "queued": "SCHEDULED", "preempted": "KILLED"}
ID_TAG = "labrun.id"
FOLDER_TAG = "labrun.directory"
HOST_TAG = "labrun.host"


@dataclass(frozen=True)
class Facts:
    """What a run is in the store, which does not change while it goes."""

    name: str
    experiment: str
    created_ms: int
    params: dict[str, str]
    tags: dict[str, str]


def facts_of(run: RunDir) -> Facts:
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
    return Facts(
        name=stored_value(run.id, longest=LONGEST),
        experiment=stored_name(experiment.plugin),
        created_ms=int(run.created() * 1000),
        params={stored_name(k): _param(v) for k, v in params.items()},
        tags=tags | name_tags([*params, *facts]) | place_of(run),
    )


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


def pictures_of(run: RunDir) -> Iterator[tuple[Path, str]]:
    """The run's figures, each with its folder below the artifacts."""
    for picture in sorted(run.artifacts.rglob("*")):
        if picture.suffix in PICTURES and picture.is_file():
            folder = picture.parent.relative_to(run.artifacts).as_posix()
            yield picture, "" if folder == "." else folder


def artifact_folder(home: Path, experiment: str) -> str:
    """Where the artifacts of this experiment lie, as a URI."""
    return (home / "mlflow-artifacts" / experiment.replace("/", "_x2f_")).absolute().as_uri()
