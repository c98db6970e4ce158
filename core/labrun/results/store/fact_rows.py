"""Rows of MLflow's tables beside runs and points: the experiment, and the data of runs."""

import sqlite3
import time
import uuid
from pathlib import Path

from labrun.results.store.data_inputs import CONTEXT, SOURCE_TYPE, data_input_of
from labrun.results.store.facts import EXPERIMENT, EXPERIMENT_TAGS, artifact_folder
from labrun.results.store.late_tags import Latest
from labrun.runs.run_dir import RunDir


def experiment_in(database: sqlite3.Connection, home: Path) -> tuple[int, str]:
    """The experiment's id and where its artifacts lie; a missing one is made, a deleted one is
    brought back."""
    now = time.time_ns() // 1_000_000
    database.execute(
        "insert into experiments (name, artifact_location, lifecycle_stage, creation_time,"
        " last_update_time) values (?, ?, 'active', ?, ?)"
        " on conflict (workspace, name) do update set lifecycle_stage = 'active',"
        " last_update_time = excluded.last_update_time where lifecycle_stage = 'deleted'",
        (EXPERIMENT, artifact_folder(home), now, now),
    )
    number, folder = database.execute(
        "select experiment_id, artifact_location from experiments"
        " where name = ? and workspace = 'default'",
        (EXPERIMENT,),
    ).fetchone()
    database.executemany(
        "insert or ignore into experiment_tags (key, value, experiment_id) values (?, ?, ?)",
        [(key, value, number) for key, value in EXPERIMENT_TAGS.items()],
    )
    return number, folder


_EARLIER = "name <> ? and substr(artifact_location, 1, ?) = ? and lifecycle_stage = 'active'"
"""Experiments of the layout with one a plugin."""


def _earlier(home: Path) -> tuple[str, int, str]:
    ours = artifact_folder(home).removesuffix(EXPERIMENT)
    return EXPERIMENT, len(ours), ours


def num_in_old_experiments(database: sqlite3.Connection, home: Path) -> int:
    """How many live runs lie in experiments of the layout with one a plugin."""
    (count,) = database.execute(
        "select count(*) from runs where lifecycle_stage = 'active' and experiment_id in"
        f" (select experiment_id from experiments where {_EARLIER})",
        _earlier(home),
    ).fetchone()
    return count


def leave_old_experiments(database: sqlite3.Connection, home: Path) -> None:
    """Delete, as MLflow does, the experiments of the layout with one a plugin that hold no run."""
    database.execute(
        f"update experiments set lifecycle_stage = 'deleted' where {_EARLIER}"
        " and experiment_id not in (select experiment_id from runs)",
        _earlier(home),
    )


def keep_input(database: sqlite3.Connection, run: RunDir, run_uuid: str, experiment: int) -> None:
    """Say once which data the run read."""
    data = data_input_of(run)
    known = "select 1 from inputs where destination_type = 'RUN' and destination_id = ?"
    if data is None or database.execute(known, (run_uuid,)).fetchone():
        return
    database.execute(
        "insert or ignore into datasets (dataset_uuid, experiment_id, name, digest,"
        " dataset_source_type, dataset_source, dataset_profile) values (?, ?, ?, ?, ?, ?, ?)",
        (uuid.uuid4().hex, experiment, data.name, data.digest, SOURCE_TYPE, *data[2:]),
    )
    (dataset,) = database.execute(
        "select dataset_uuid from datasets where experiment_id = ? and name = ? and digest = ?",
        (experiment, data.name, data.digest),
    ).fetchone()
    link = uuid.uuid4().hex
    database.execute(
        "insert into inputs (input_uuid, source_type, source_id, destination_type,"
        " destination_id) values (?, 'DATASET', ?, 'RUN', ?)",
        (link, dataset, run_uuid),
    )
    database.execute("insert into input_tags values (?, ?, ?)", (link, *CONTEXT))


def forget_inputs(database: sqlite3.Connection, run_uuid: str) -> None:
    """Delete what says which data the run read."""
    links = "select input_uuid from inputs where destination_id = ?"
    database.execute(f"delete from input_tags where input_uuid in ({links})", (run_uuid,))
    database.execute("delete from inputs where destination_id = ?", (run_uuid,))


def latest_in(database: sqlite3.Connection, run_uuid: str) -> dict[str, Latest]:
    """Metric -> its value at the greatest step."""
    rows = database.execute(
        "select key, value, step from latest_metrics where run_uuid = ?", (run_uuid,)
    )
    return {key: Latest(value, step) for key, value, step in rows}


def tags_in(database: sqlite3.Connection, run_uuid: str) -> dict[str, str]:
    """The run's tags."""
    rows = database.execute("select key, value from tags where run_uuid = ?", (run_uuid,))
    return dict(rows.fetchall())
