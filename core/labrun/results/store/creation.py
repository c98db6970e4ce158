"""Makes an empty results store: `python -m labrun.results.store.creation FILE`."""

import os
import sqlite3
import sys
from pathlib import Path


def create(path: Path) -> None:
    """Have MLflow make its tables; the file appears when it is whole."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        SqlAlchemyStore(f"sqlite:///{draft}", str(path.parent)).engine.dispose()
        database = sqlite3.connect(draft)
        database.execute("pragma journal_mode=delete")
        database.close()
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


if __name__ == "__main__":
    create(Path(sys.argv[1]))
