"""Runs as rows of MLflow's own tables in a sqlite file, written without importing MLflow.

A run's points and its mark, the tag `labrun.mark`, change in one transaction: whoever ends the
process, the store holds each point once and knows what it lacks. This is done only where the tables
are those of a version that is known here.
"""

import contextlib
import json
import math
import shutil
import socket
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlparse

from labrun.results.store.colours import keep_colours
from labrun.results.store.events import Batch, batches, continues
from labrun.results.store.fact_rows import (
    experiment_in,
    forget_inputs,
    keep_input,
    latest_in,
    leave_old_experiments,
    num_in_old_experiments,
    tags_in,
)
from labrun.results.store.facts import (
    FOLDER_TAG,
    HOST_TAG,
    ID_TAG,
    Facts,
    facts_of,
    place_of,
    state_of,
)
from labrun.results.store.late_tags import OWN_NOTE_TAG, late_tags
from labrun.results.store.marks import LAYOUT, Copied, Mark, copied, looked_at, mark_of
from labrun.results.store.run_names import RunNames
from labrun.results.store.said import NAME_TAG, TAGS_TAG, is_renamed, shown_name, shown_tags
from labrun.results.store.shown_files import copy_to
from labrun.results.store.tables import Table, tables_of
from labrun.results.store.view import KEY, keep_view, stored_group, view_of
from labrun.runs.record import SpecRecord
from labrun.runs.run_dir import ENDED, RunDir
from labrun.system import regular_files

KNOWN_TABLES = "dc11669786a5"
"""The last migration of MLflow 3.17, after which its tables are as they are written here."""
MARK_TAG = "labrun.mark"
BUSY_S = 5.0
MOST_NAMED = 500
"""Runs up to which only theirs are looked up; of more, those of all runs."""
AT_ONCE = 2**20
"""Bytes of new events up to which a run is written in one transaction."""
CACHE_KIB = 32 * 1024
"""Memory for pages of the file where many runs are written: their keys are random, so that each run
touches pages everywhere, and sqlite's own 2 MiB are read and written again and again."""
OURS = ("metrics", "latest_metrics", "params", "tags", "runs")
_COPIES = """select t.value, r.run_uuid, r.lifecycle_stage = 'active'
    and e.lifecycle_stage = 'active' from tags t join runs r using (run_uuid)
    join experiments e using (experiment_id) where t.key = 'labrun.id'"""


class Database:
    """An open store. Raises sqlite3.Error where it is locked, full or damaged."""

    def __init__(self, path: Path, *, busy_s: float = BUSY_S) -> None:
        self._home, self._uri = path.parent, f"sqlite:///{path}"
        self._database = sqlite3.connect(path, timeout=busy_s, isolation_level=None)
        try:
            self._ask("pragma synchronous=normal")
            self.is_known = self._ask("select version_num from alembic_version") == [
                (KNOWN_TABLES,)
            ]
        except BaseException:
            self._database.close()
            raise
        self.is_together = False
        self._copies: dict[str, list[str]] = {}
        self._live: set[str] = set()
        self._version: int | None = None
        self._experiment: tuple[int, str] | None = None
        self._names = RunNames()

    def close(self) -> None:
        self._database.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside, or nothing of it; other writers wait."""
        inner = self._database.in_transaction
        self._ask("savepoint part" if inner else "begin immediate")
        try:
            yield
            self._ask("release part" if inner else "commit")
        except BaseException:
            self._experiment = None
            self._version = None
            if self._database.in_transaction:
                self._ask("rollback to part" if inner else "rollback")
            if inner and self._database.in_transaction:
                self._ask("release part")
            raise

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Write several runs in one transaction; a run that cannot be written is left out."""
        self._ask(f"pragma cache_size = -{CACHE_KIB}")
        self.is_together = True
        try:
            with self.transaction():
                yield
        finally:
            self.is_together = False

    def copied(self, ids: Sequence[str]) -> dict[str, Copied]:
        """Run id -> what was copied of it, of each of these runs that is live in the store."""
        some = ids if len(ids) <= MOST_NAMED else ()
        named = f" and t.value in ({','.join('?' * len(some))})" if some else ""
        rows = self._ask(
            "select t.value, m.value from tags t join tags m using (run_uuid) "
            "join runs r using (run_uuid) join experiments e using (experiment_id) "
            "where t.key = ? and m.key = ? "
            f"and r.lifecycle_stage = 'active' and e.lifecycle_stage = 'active'{named}",
            (ID_TAG, MARK_TAG, *some),
        )
        return {run_id: copied(text) for run_id, text in rows}

    def folders(self) -> list[tuple[str, str, str]]:
        """(MLflow's id, run id, directory) of every run of this machine, also of deleted ones."""
        return self._ask(
            "select i.run_uuid, i.value, f.value from tags i join tags f using (run_uuid) "
            "left join tags h on h.run_uuid = i.run_uuid and h.key = ? "
            "where i.key = ? and f.key = ? and coalesce(h.value, ?) = ?",
            (HOST_TAG, ID_TAG, FOLDER_TAG, host := socket.gethostname(), host),
        )

    def update(self, run: RunDir, *, afresh: bool = False) -> str:
        """Bring the run up to its directory's present content; returns MLflow's id of it.

        Other processes wait while a transaction is open. So the run's own files are read and copied
        between two of them, and the mark says only in the second that nothing is missing.
        """
        run = SpecRecord(run.path)
        facts = None if self._stored(run, afresh=afresh) else facts_of(run, self._names)
        seen = looked_at(Mark(), run)
        with self.transaction():
            stored = self._stored(run, afresh=afresh)
            known, mark = stored or self._begin(run, facts or facts_of(run, self._names))
            is_small = seen.size - mark.offset < AT_ONCE
            changed = (seen.status, seen.state) != (mark.status, mark.state)
            if stored and mark.folder != seen.folder:
                self._set_tags(known, place_of(run))
            mark = replace(mark, size=-1, folder=seen.folder)  # behind until all is written
            if is_small:
                mark = self._read_on(run, known, mark)
        if not is_small:
            mark = self._read_on(run, known, mark)
        said_before = mark.said
        mark = replace(mark, size=seen.size, status=seen.status, state=seen.state, said=seen.said)
        self._finish(run, known, mark, changed=changed, said_before=said_before)
        self._leave_word(run, known)
        return known

    def _stored(self, run: RunDir, *, afresh: bool) -> tuple[str, Mark] | None:
        """MLflow's id of the run and its mark; None of a run to be written from its beginning."""
        known = next((one for one in self._find(run.id) if one in self._live), None)
        if known is None or afresh or not _goes_on(mark := self._mark(known), run):
            return None
        return known, mark

    def _read_on(self, run: RunDir, run_uuid: str, mark: Mark) -> Mark:
        """Write what stands behind the mark, batch by batch, each in a transaction."""
        for batch in batches(run, mark):
            with self.transaction():
                self._write(run_uuid, batch)
                mark = batch.mark
        return mark

    def _finish(
        self, run: RunDir, run_uuid: str, mark: Mark, *, changed: bool, said_before: str
    ) -> None:
        """Write the run's state, what was said of it, and what it shows where it has ended."""
        has_ended = changed and mark.state in ENDED
        tables = tables_of(run) if has_ended else []
        if has_ended:
            self._keep_files(run, run_uuid, tables)
        with self.transaction():
            if said_before != mark.said:
                self._keep_said(run, run_uuid, renamed=is_renamed(said_before, mark.said))
            self._settle(run, run_uuid, mark)
            keep_input(self._database, run, run_uuid, self._our_experiment()[0])
            if changed:
                self._keep_late_tags(run, run_uuid, tables)

    def _leave_word(self, run: RunDir, run_uuid: str) -> None:
        """Say in the run's directory which run of the store it is; the store's mark is what counts,
        so that a directory that cannot be written does no harm."""
        word = {"run": run_uuid, "uri": self._uri}
        path = run.path / "mlflow.json"
        with contextlib.suppress(OSError, ValueError, RecursionError):
            if path.exists() and json.loads(regular_files.content(path)) == word:
                return
        with contextlib.suppress(OSError), regular_files.opened_to_write(path, "wb") as file:
            file.write(json.dumps(word).encode())

    def remove(self, ids: Iterable[str]) -> None:
        """Delete these runs from the store for good, by MLflow's ids, with their copied figures."""
        ids = list(ids)
        folders = [folder for one in ids for folder in self._figures_of(one)]
        with self.transaction():
            self._delete(ids)
        self._version = None
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)

    def _figures_of(self, run_uuid: str) -> list[Path]:
        """The folder that holds the run's copied figures, if it is one of this home."""
        rows = self._ask("select artifact_uri from runs where run_uuid = ?", (run_uuid,))
        folders = [Path(unquote(urlparse(uri).path)).parent for (uri,) in rows if uri]
        ours = self._home.absolute() / "mlflow-artifacts"
        return [folder for folder in folders if folder.is_relative_to(ours) and folder != ours]

    def _delete(self, ids: Sequence[str]) -> None:
        for table in OURS:
            self._many(f"delete from {table} where run_uuid = ?", [(one,) for one in ids])
        for one in ids:
            forget_inputs(self._database, one)

    def num_earlier(self) -> int:
        """How many live runs lie in experiments of the earlier layout."""
        return num_in_old_experiments(self._database, self._home)

    def keep_view(self, group: str) -> tuple[int, str]:
        """Write the group's training view and the colours of its runs; returns the experiment's id
        and the view's key."""
        experiment, _ = self._our_experiment()
        stored = stored_group(self._database, group)
        keep_view(self._database, experiment, view_of(group, stored))
        keep_colours(self._database, stored)
        return experiment, KEY

    def leave_old_experiments(self) -> None:
        """Delete the experiments of the earlier layout that hold no run."""
        leave_old_experiments(self._database, self._home)

    def shrink(self) -> None:
        """Give free pages back to the disk where they are more than half of the file."""
        (pages,), (free,) = self._ask("pragma page_count")[0], self._ask("pragma freelist_count")[0]
        if 2 * free > pages:
            self._ask("vacuum")

    def _ask(self, words: str, values: Iterable[object] = ()) -> list[tuple]:
        return self._database.execute(words, tuple(values)).fetchall()

    def _many(self, words: str, rows: Iterable[tuple]) -> None:
        self._database.executemany(words, rows)

    def _find(self, run_id: str) -> list[str]:
        """MLflow's ids of the run, those that are live first; read again where another process has
        written."""
        version = self._ask("pragma data_version")[0][0]
        if version != self._version:
            self._copies.clear()
            self._live.clear()
            for known, run_uuid, live in self._ask(_COPIES):
                self._copies.setdefault(known, []).append(run_uuid)
                self._live |= {run_uuid} if live else set()
            self._version = version
        return sorted(self._copies.get(run_id, ()), key=lambda one: one not in self._live)

    def _mark(self, run_uuid: str) -> Mark:
        where = (MARK_TAG, run_uuid)
        rows = self._ask("select value from tags where key = ? and run_uuid = ?", where)
        return mark_of(rows[0][0] if rows else None)

    def _begin(self, run: RunDir, facts: Facts) -> tuple[str, Mark]:
        """The run without points, under the id that it had; other copies of it are removed."""
        ids = self._find(run.id)
        chosen = ids[0] if ids else uuid.uuid4().hex
        if ids[1:]:
            self._delete(ids[1:])
        for table in ("metrics", "latest_metrics", "params"):
            self._ask(f"delete from {table} where run_uuid = ?", (chosen,))
        self._ask(
            "delete from tags where run_uuid = ? and (key = ? or key like 'labrun.%' and key <> ?)",
            (chosen, TAGS_TAG, OWN_NOTE_TAG),
        )
        experiment, folder = self._our_experiment()
        artifacts = f"{folder}/{chosen}/artifacts"
        self._ask(
            "insert into runs (run_uuid, name, source_type, source_name, entry_point_name, user_id,"
            " status, start_time, source_version, lifecycle_stage, artifact_uri, experiment_id)"
            " values (?, ?, 'LOCAL', ?, '', ?, 'SCHEDULED', ?, '', 'active', ?, ?)"
            " on conflict (run_uuid) do update set name = excluded.name, end_time = null,"
            " source_type = excluded.source_type, source_name = excluded.source_name,"
            " user_id = excluded.user_id, experiment_id = excluded.experiment_id,"
            " lifecycle_stage = 'active', deleted_time = null",
            (chosen, facts.name, facts.source, facts.user, facts.created_ms, artifacts, experiment),
        )
        params = [(key, value, chosen) for key, value in facts.params.items()]
        self._many("insert into params (key, value, run_uuid) values (?, ?, ?)", params)
        self._set_tags(chosen, facts.tags)
        self._copies[run.id] = [chosen]
        self._live.add(chosen)
        return chosen, Mark()

    def _our_experiment(self) -> tuple[int, str]:
        """The experiment's id and where its artifacts lie."""
        if self._experiment is None:
            self._experiment = experiment_in(self._database, self._home)
        return self._experiment

    def _set_tags(self, run_uuid: str, tags: Mapping[str, str]) -> None:
        """Write these tags; others stay as they are."""
        rows = [(key, value, run_uuid) for key, value in tags.items()]
        self._many("insert or replace into tags (key, value, run_uuid) values (?, ?, ?)", rows)

    def _write(self, run_uuid: str, batch: Batch) -> None:
        if batch.keep_until < math.inf:
            self._drop_replayed(run_uuid, batch.keep_until)
        last = dict(
            self._ask("select key, step from latest_metrics where run_uuid = ?", (run_uuid,))
        )
        again = [(run_uuid, k, s) for k, s in batch.points if s <= last.get(k, -math.inf)]
        self._many("delete from metrics where run_uuid = ? and key = ? and step = ?", again)
        self._many(
            "insert into metrics (key, value, timestamp, run_uuid, step, is_nan)"
            " values (?, ?, ?, ?, ?, ?)",
            (
                (key, 0.0 if math.isnan(value) else value, at, run_uuid, step, math.isnan(value))
                for (key, step), (value, at) in batch.points.items()
            ),
        )
        self._renew_latest(run_uuid, {key for key, _ in batch.points})
        tags = batch.tags()
        self._set_tags(run_uuid, {key: value for key, value in tags.items() if value})
        empty = [(key, run_uuid) for key, value in tags.items() if not value]
        self._many("delete from tags where key = ? and run_uuid = ?", empty)
        self._set_tags(run_uuid, {MARK_TAG: batch.mark.to_json()})

    def _drop_replayed(self, run_uuid: str, keep_until: float) -> None:
        keep = -(2**63) if keep_until == -math.inf else keep_until
        more = ">=" if keep_until == -math.inf else ">"
        known = self._ask("select key from latest_metrics where run_uuid = ?", (run_uuid,))
        self._ask(f"delete from metrics where run_uuid = ? and step {more} ?", (run_uuid, keep))
        self._renew_latest(run_uuid, {key for (key,) in known})

    def _renew_latest(self, run_uuid: str, keys: Iterable[str]) -> None:
        """MLflow's latest value of a metric is the one at its greatest step."""
        wanted = [(run_uuid, key) for key in keys]
        self._many("delete from latest_metrics where run_uuid = ? and key = ?", wanted)
        self._many(
            "insert into latest_metrics (key, value, timestamp, step, is_nan, run_uuid)"
            " select key, value, timestamp, step, is_nan, run_uuid from metrics"
            " where run_uuid = ? and key = ? order by step desc limit 1",
            wanted,
        )

    def _settle(self, run: RunDir, run_uuid: str, mark: Mark) -> None:
        ended = run.recorded_status().ended if mark.state in ENDED else None
        self._ask(
            "update runs set status = ?, end_time = ? where run_uuid = ?",
            (state_of(mark.state), int(ended * 1000) if ended else None, run_uuid),
        )
        self._set_tags(run_uuid, {"state": mark.state, MARK_TAG: mark.to_json()})

    def _keep_said(self, run: RunDir, run_uuid: str, *, renamed: bool) -> None:
        """Show the tags that the user gives the run now, and a new name."""
        if renamed:
            name = shown_name(run, self._names)
            self._ask("update runs set name = ? where run_uuid = ?", (name, run_uuid))
            self._set_tags(run_uuid, {NAME_TAG: name})
        self._ask("delete from tags where key = ? and run_uuid = ?", (TAGS_TAG, run_uuid))
        self._set_tags(run_uuid, {TAGS_TAG: tags} if (tags := shown_tags(run)) else {})

    def _keep_late_tags(self, run: RunDir, run_uuid: str, tables: Sequence[Table]) -> None:
        latest, present = latest_in(self._database, run_uuid), tags_in(self._database, run_uuid)
        self._set_tags(run_uuid, late_tags(run, latest=latest, present=present, tables=tables))

    def _keep_files(self, run: RunDir, run_uuid: str, tables: Sequence[Table]) -> None:
        (uri,) = self._ask("select artifact_uri from runs where run_uuid = ?", (run_uuid,))[0]
        copy_to(uri, run, tables)


def _goes_on(mark: Mark, run: RunDir) -> bool:
    """Whether what stands behind the mark can be added to what was stored before it."""
    return bool(mark.folder) and mark.layout == LAYOUT and continues(run, mark)
