"""Runs in a store that MLflow's client writes: a server, or tables of a version unknown here.

MLflow takes no point back. A run of which stored points no longer hold is written anew. How far a
run was copied stands in its mlflow.json; what is about to be written is noted there first, so that
nothing is written twice whoever ends the process.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from labrun.results.store.data_inputs import CONTEXT, SOURCE_TYPE, data_input_of
from labrun.results.store.events import Batch, batches, continues
from labrun.results.store.facts import (
    EXPERIMENT,
    EXPERIMENT_TAGS,
    ID_TAG,
    artifact_folder,
    facts_of,
    state_of,
)
from labrun.results.store.late_tags import Latest, late_tags
from labrun.results.store.marks import LAYOUT, Mark, looked_at, mark_of
from labrun.results.store.names import stored_name
from labrun.results.store.run_names import RunNames
from labrun.results.store.said import TAGS_TAG, is_renamed, shown_name, shown_tags
from labrun.results.store.shown_files import shown_files
from labrun.results.store.tables import Table, tables_of
from labrun.runs.run_dir import ENDED, RunDir, write_json
from labrun.system import regular_files

MOST_METRICS = 1000
MOST_WORDS = 100
"""Metrics, and params or tags, that MLflow takes at once."""


class RewriteError(Exception):
    """The store has points that are no longer valid."""


@dataclass
class Place:
    """Which run of the store it is, how far it was copied, and the greatest step of each metric."""

    run: str
    uri: str
    mark: Mark = field(default_factory=Mark)
    last: dict[str, int] = field(default_factory=dict)


def place_file(run: RunDir) -> Path:
    return run.path / "mlflow.json"


def place_in(run: RunDir, uri: str) -> Place | None:
    """The run's place in this store, by its mlflow.json; None if that names none."""
    try:
        read = json.loads(regular_files.content(place_file(run)))
        if read["uri"] != uri or "mark" not in read:
            return None
        mark = mark_of(json.dumps(read["mark"]))
        return Place(read["run"], uri, mark, dict(read["last"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def quoted(text: str) -> str:
    """The text as a value in MLflow's search language."""
    return f'"{text}"' if "'" in text else f"'{text}'"


@dataclass
class Server:
    """A store behind MLflow's client."""

    home: Path
    uri: str
    client: Any
    folder: Path | None = None
    """Where artifacts of new experiments lie; None where the server says."""
    _experiment: str | None = None
    _names: RunNames = field(default_factory=RunNames)

    def close(self) -> None:
        self._experiment = None
        self._names = RunNames()

    def update(self, run: RunDir, *, afresh: bool = False) -> str:
        """Bring the run up to its directory's present content; returns MLflow's id of it."""
        place = None if afresh else place_in(run, self.uri)
        if place is None or not self._goes_on(run, place):
            return self._anew(run)
        try:
            self._read_on(run, place, batches(run, replace(place.mark, size=-1)))
        except RewriteError:
            return self._anew(run)
        return place.run

    def remove(self, ids: Sequence[str]) -> None:
        for one in ids:
            self.client.delete_run(one)

    def _anew(self, run: RunDir) -> str:
        for old in self._stored(run):
            self.client.delete_run(old.info.run_id)
        place = Place(self._create(run), self.uri)
        self._read_on(run, place, [_whole(run)])
        return place.run

    def _read_on(self, run: RunDir, place: Place, found: Iterator[Batch] | list[Batch]) -> None:
        seen = looked_at(place.mark, run)
        changed = (seen.status, seen.state) != (place.mark.status, place.mark.state)
        tables = tables_of(run) if changed and seen.state in ENDED else []
        if changed and seen.state in ENDED:
            self._keep_files(run, place.run, tables)
        for batch in found:
            self._write(run, place, batch)
        self.client.update_run(place.run, status=state_of(seen.state))
        self.client.set_tag(place.run, "state", seen.state)
        if changed:
            self._keep_late(run, place, tables)
        if seen.said != place.mark.said:
            self._keep_said(run, place.run, renamed=is_renamed(place.mark.said, seen.said))
        place.mark = replace(
            place.mark,
            size=seen.size,
            status=seen.status,
            state=seen.state,
            folder=seen.folder,
            said=seen.said,
        )
        write_json(place_file(run), asdict(place))

    def _write(self, run: RunDir, place: Place, batch: Batch) -> None:
        if any(step > batch.keep_until for step in place.last.values()):
            raise RewriteError
        new = self._missing(place, batch)
        for key, step in new:
            place.last[key] = max(step, place.last.get(key, step))
        write_json(place_file(run), asdict(place))
        self._log(place.run, batch, new)
        place.mark = batch.mark
        write_json(place_file(run), asdict(place))

    def _missing(self, place: Place, batch: Batch) -> list[tuple[str, int]]:
        """The points that the store lacks. Raises RewriteError if it has another value for one."""
        doubtful: dict[str, list[int]] = {}
        for key, step in batch.points:
            if step <= place.last.get(key, step - 1):
                doubtful.setdefault(key, []).append(step)
        there: set[tuple[str, int]] = set()
        for key, steps in doubtful.items():
            stored = {
                point.step: (point.value, point.timestamp)
                for point in self.client.get_metric_history(place.run, key)
            }
            for step in steps:
                if step in stored and not _same(stored[step], batch.points[key, step]):
                    raise RewriteError
            there |= {(key, step) for step in steps if step in stored}
        return [point for point in batch.points if point not in there]

    def _log(self, run_id: str, batch: Batch, new: Sequence[tuple[str, int]]) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(key, batch.points[key, step][0], batch.points[key, step][1], step)
            for key, step in new
        ]
        for part in _parts(metrics, MOST_METRICS):
            self.client.log_batch(run_id, metrics=part)
        self._tag(run_id, {key: value for key, value in batch.tags().items() if value})

    def _tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        for part in _parts([RunTag(key, value) for key, value in tags.items()], MOST_WORDS):
            self.client.log_batch(run_id, tags=part)

    def _create(self, run: RunDir) -> str:
        from mlflow.entities import Param

        facts = facts_of(run, self._names)
        stored = self.client.create_run(
            self._our_experiment(), run_name=facts.name, start_time=facts.created_ms
        )
        params = [Param(key, value) for key, value in facts.params.items()]
        for part in _parts(params, MOST_WORDS):
            self.client.log_batch(stored.info.run_id, params=part)
        self._tag(stored.info.run_id, facts.tags)
        return stored.info.run_id

    def _stored(self, run: RunDir) -> list[Any]:
        """The run's live copies in the store, also where the earlier layout had them."""
        earlier = self.client.get_experiment_by_name(stored_name(run.experiment().plugin))
        places = [self._our_experiment(), *([earlier.experiment_id] if earlier else [])]
        return list(self.client.search_runs(places, f"tags.`{ID_TAG}` = {quoted(run.id)}"))

    def _goes_on(self, run: RunDir, place: Place) -> bool:
        """Whether what stands behind the place's mark can be added to the stored run."""
        known = place.mark.layout == LAYOUT and continues(run, place.mark)
        return known and self._exists(place.run)

    def _exists(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_run(run_id).info.lifecycle_stage == "active"
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise

    def _our_experiment(self) -> str:
        """The experiment's id; a missing one is made, a deleted one is brought back."""
        if self._experiment is None:
            from filelock import FileLock

            with FileLock(self.home / ".mlflow-experiments.lock", timeout=60):
                self._experiment = self._found_experiment()
        return self._experiment

    def _found_experiment(self) -> str:
        known = self.client.get_experiment_by_name(EXPERIMENT)
        if known and known.lifecycle_stage == "deleted":
            self.client.restore_experiment(known.experiment_id)
        if known:
            return known.experiment_id
        place = artifact_folder(self.folder) if self.folder else None
        made = self.client.create_experiment(EXPERIMENT, artifact_location=place)
        for key, value in EXPERIMENT_TAGS.items():
            self.client.set_experiment_tag(made, key, value)
        return made

    def _keep_said(self, run: RunDir, run_id: str, *, renamed: bool) -> None:
        """Show the tags that the user gives the run now, and a new name."""
        if renamed:
            self.client.update_run(run_id, name=shown_name(run, self._names))
        if tags := shown_tags(run):
            self.client.set_tag(run_id, TAGS_TAG, tags)
        elif TAGS_TAG in self.client.get_run(run_id).data.tags:
            self.client.delete_tag(run_id, TAGS_TAG)

    def _keep_late(self, run: RunDir, place: Place, tables: Sequence[Table]) -> None:
        """Write what is known only after the run has begun."""
        stored = self.client.get_run(place.run).data
        latest = {k: Latest(v, place.last[k]) for k, v in stored.metrics.items() if k in place.last}
        self._tag(place.run, late_tags(run, latest=latest, present=stored.tags, tables=tables))
        self._keep_input(run, place.run)

    def _keep_input(self, run: RunDir, run_id: str) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        if data := data_input_of(run):
            read = Dataset(data.name, data.digest, SOURCE_TYPE, data.source, profile=data.profile)
            self.client.log_inputs(run_id, datasets=[DatasetInput(read, [InputTag(*CONTEXT)])])

    def _keep_files(self, run: RunDir, run_id: str, tables: Sequence[Table]) -> None:
        for file, folder in shown_files(run):
            self.client.log_artifact(run_id, str(file), folder or None)
        for table in tables:
            self.client.log_text(run_id, table.text, table.path)


def _whole(run: RunDir) -> Batch:
    """All valid points of the run, as one batch."""
    whole = Batch(Mark())
    for batch in batches(run, Mark()):
        if batch.keep_until != float("inf"):
            whole.points = {k: v for k, v in whole.points.items() if k[1] <= batch.keep_until}
        whole.points |= batch.points
        whole.names |= batch.names
        whole.mark = batch.mark
    return whole


def _same(stored: tuple[float, int], point: tuple[float, int]) -> bool:
    alike = stored[0] == point[0] or (stored[0] != stored[0] and point[0] != point[0])
    return alike and stored[1] == point[1]


def _parts(items: Sequence[Any], most: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), most):
        yield items[start : start + most]
