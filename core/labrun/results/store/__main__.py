"""Writes what a server lacks of the runs of a home: `python -m labrun.results.store HOME URI`."""

import contextlib
import os
import sys
from pathlib import Path

from labrun.results.store.catch_up import behind_on_server
from labrun.results.store.mirror import Mirror
from labrun.results.store.trouble import is_down
from labrun.runs.run_index import entries


def main(home: Path, uri: str) -> None:
    """Write every run that is behind; one process does so at a time, and none beside a command."""
    from filelock import FileLock, Timeout

    with contextlib.suppress(Timeout), FileLock(home / ".mlflow-server.lock", timeout=0):
        mirror = Mirror(home, uri)
        for entry in behind_on_server(uri, [e for e in entries(home) if e.uri == uri]):
            try:
                claim = entry.run.claim()
            except Exception:  # another command has the run in its hands, and writes it
                continue
            try:
                mirror.update(entry.run)
            except Exception as error:  # whatever is wrong with one run, the others are written
                if is_down(error):
                    return
            finally:
                os.close(claim)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
