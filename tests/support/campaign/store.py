"""The points of a run in MLflow's sqlite file, read without MLflow."""

import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from campaign.record import Value

Points = Counter[tuple[int, float | None]]
"""How often each (step, value) is there; None is a value that is not finite."""

ACTIVE = """
    from runs join tags on tags.run_uuid = runs.run_uuid and tags.key = 'labrun.id'
    where runs.lifecycle_stage = 'active' and tags.value = ?
"""


def expected(points: Mapping[tuple[str, int], Value]) -> Points:
    """The points that a run directory gives; names are left out, since the store spells its own."""
    finite = ((step, v if isinstance(v, float | int) else None) for (_, step), v in points.items())
    return Counter((step, None if v is None else float(v)) for step, v in finite)


def stored(home: Path, run_id: str) -> tuple[Points, list[str]]:
    """The points of the active runs of this id, and the status of each such run."""
    path = home / "mlflow.db"
    if not path.exists():
        return Counter(), []
    rows = (
        f"select step, value, is_nan from metrics where run_uuid in (select runs.run_uuid {ACTIVE})"
    )
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as database:
        statuses = [row[0] for row in database.execute(f"select runs.status {ACTIVE}", (run_id,))]
        found = database.execute(rows, (run_id,)).fetchall()
    return Counter((step, None if nan else value) for step, value, nan in found), statuses
