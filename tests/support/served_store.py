"""A real `mlflow server` on a port and a sqlite file of its own, and what its store holds."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from labrun.results.store import ensure_sqlite


def wait_for(condition: Callable[[], object], *, timeout_s: float = 120.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


class Server:
    """`mlflow server` with one worker, on a sqlite file and a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, folder / "server.db"
        ensure_sqlite(self.store)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        places = ["--backend-store-uri", f"sqlite:///{self.store}", "--host", "127.0.0.1"]
        words = [*places, "--port", str(self.port), "--workers", "1"]
        files = ["--default-artifact-root", str(self.folder / "files")]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *words, *files],
            env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"},
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for(self._answers)

    def stop(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def losses(self) -> dict[str, list[int]]:
        """Run -> the steps of its points, as often as they are stored."""
        found: dict[str, list[int]] = {}
        asked = "SELECT run_uuid, step FROM metrics WHERE key = 'train/loss' ORDER BY step"
        with sqlite3.connect(f"file:{self.store}?mode=ro", uri=True) as store:
            for run, step in store.execute(asked):
                found.setdefault(run, []).append(step)
        store.close()
        return found

    def states(self) -> list[str]:
        asked = "SELECT status FROM runs WHERE lifecycle_stage = 'active'"
        with sqlite3.connect(f"file:{self.store}?mode=ro", uri=True) as store:
            states = [row[0] for row in store.execute(asked)]
        store.close()
        return states

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True
