"""A run's trained model as a version of a registered model in MLflow."""

from pathlib import Path
from typing import Any, NamedTuple

from labrun.errors import LabError
from labrun.results.store.mirror import Mirror
from labrun.results.store.server import quoted
from labrun.runs.run_dir import RunDir

FOLDER = "model"
WEIGHTS = (".safetensors", ".pt")


class Version(NamedTuple):
    """A version of a registered model; `is_new` is false where the run was one already."""

    number: int
    is_new: bool


def register(run: RunDir, name: str, *, mirror: Mirror) -> Version:
    """The run's model under this name; a run is registered once under each name.

    A sqlite store names the folder in the run's directory, a server gets a copy of it. Raises
    LabError where the run is not done or left no model, and for a name that MLflow refuses.
    """
    from mlflow.exceptions import MlflowException

    folder = model_of(run)
    with mirror.opened() as store:
        stored = store.update(run)
    client = mirror.client()
    try:
        return _version(client, stored, name) or Version(_add(client, stored, name, folder), True)
    except MlflowException as error:
        first = (str(error).splitlines() or ["it gives no reason"])[0]
        raise LabError(f"MLflow does not register {name!r}: {first}") from error


def model_of(run: RunDir) -> Path:
    """The folder of the run's trained model. Raises LabError."""
    if (state := run.status().state) != "done":
        raise LabError(f"run {run.id} is {state}; a model is registered once its run is done")
    if (run.artifacts / FOLDER).is_dir():
        return run.artifacts / FOLDER
    if _weights(run.artifacts):
        return run.artifacts
    raise LabError(
        f"run {run.id} left no model: {run.artifacts} has neither {FOLDER}/ nor a file "
        f"*{' or *'.join(WEIGHTS)}; register a run that trains one"
    )


def _weights(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.iterdir()) if file.suffix in WEIGHTS]


def _version(client: Any, stored: str, name: str) -> Version | None:
    for version in client.search_model_versions(f"run_id = '{stored}'"):
        if version.name == name:
            return Version(int(version.version), False)
    return None


def _add(client: Any, stored: str, name: str, folder: Path) -> int:
    if not client.search_registered_models(f"name = {quoted(name)}"):
        client.create_registered_model(name)
    source = folder.absolute().as_uri()
    if client.tracking_uri.startswith("http"):
        source = _copied(client, stored, folder)
    return int(client.create_model_version(name, source, stored).version)


def _copied(client: Any, stored: str, folder: Path) -> str:
    """Where the copy of the model lies among the run's artifacts on the server."""
    if folder.name == FOLDER:
        client.log_artifacts(stored, str(folder), FOLDER)
    else:
        for file in _weights(folder):
            client.log_artifact(stored, str(file), FOLDER)
    return f"{client.get_run(stored).info.artifact_uri}/{FOLDER}"
