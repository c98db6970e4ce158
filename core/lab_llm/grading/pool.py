"""Grader processes of one rule, started once, each grading bounded in time and memory."""

import atexit
import contextlib
import os
import pickle
import queue
import select
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lab_llm.grading import worker
from lab_llm.grading.worker import FAILED, GRADED, LENGTH, REAL_PER_CPU, RECORD, UNCONFINED

BATCH = 64
"""Gradings that are sent to a grader at a time."""
START_S = 300.0
"""Seconds that a grader may take to start, imports included."""
SLACK_S = 30.0
"""Seconds beyond a grading's own limits after which its process group is killed."""
MOST_WORKERS = 8
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
"""All that a grader finds in its environment."""

Arguments = tuple[object, ...] | dict[str, Any]
"""Of a rule, by position or by name."""


@dataclass(frozen=True)
class Grading:
    """What became of one grading."""

    reward: float
    """0.0 where it did not end."""
    ended: bool
    """False where it used up its time or memory, or failed."""
    fault: str = ""
    """Of one that failed: what the rule did, as `raised ValueError: why` or `gave None`."""


class GraderError(RuntimeError):
    """The grader processes themselves do not work."""


class GraderPool:
    """Grades with the function `rule` (`module:function`) in processes without rights.

    Each grading may take `limit_s` seconds of CPU time. The processes start with the first grading
    and stay; a process that forked from the one that made them starts its own.
    """

    def __init__(self, rule: str, *, limit_s: float, num_workers: int | None = None) -> None:
        self.rule, self.limit_s = rule, limit_s
        self._num_workers = num_workers
        self._workers: list[_Worker] = []
        self._owner = 0
        self._lock = threading.Lock()

    def grade_all(self, items: Sequence[Arguments]) -> list[Grading]:
        """One grading for each item, the rule's arguments, in order."""
        with self._lock:
            workers = self._started()
            batches = [items[i : i + BATCH] for i in range(0, len(items), BATCH)]
            if len(workers) == 1 or len(batches) == 1:
                found = [workers[0].grade(batch) for batch in batches]
            else:
                found = _spread(workers, batches)
        return [grading for of_batch in found for grading in of_batch]

    @property
    def is_confined(self) -> bool:
        """Whether the graders gave up their rights; starts them."""
        with self._lock:
            return self._started()[0].is_confined

    def close(self) -> None:
        """End the processes; the next grading starts new ones."""
        if self._owner == os.getpid():
            for one in self._workers:
                one.close()
        self._workers.clear()

    def _started(self) -> list["_Worker"]:
        if self._owner != os.getpid():
            self._workers, self._owner = [], os.getpid()
            atexit.register(self.close)
        wanted = self._num_workers or num_slots()
        while len(self._workers) < wanted:
            self._workers.append(_Worker(self.rule, self.limit_s))
        return self._workers


def num_slots() -> int:
    """CPU slots of this job, as its launcher says in OMP_NUM_THREADS."""
    slots = os.environ.get("OMP_NUM_THREADS", "1")
    return min(max(int(slots), 1), MOST_WORKERS) if slots.isdecimal() else 1


def _spread(
    workers: Sequence["_Worker"], batches: Sequence[Sequence[Arguments]]
) -> list[list[Grading]]:
    """The batches graded by whichever worker is free."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for place in range(len(batches)):
        waiting.put(place)
    found: dict[int, list[Grading]] = {}
    errors: list[Exception] = []

    def serve(one: "_Worker") -> None:
        with contextlib.suppress(queue.Empty):
            while not errors:
                place = waiting.get_nowait()
                try:
                    found[place] = one.grade(batches[place])
                except Exception as error:  # raised again in the caller's thread
                    errors.append(error)

    threads = [threading.Thread(target=serve, args=(one,)) for one in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return [found[place] for place in range(len(batches))]


class _Worker:
    """One process that forks graders (see `lab_llm.grading.worker`), and the pipes to them."""

    def __init__(self, rule: str, limit_s: float) -> None:
        self.is_confined = False
        self._command = [rule, str(limit_s)]
        self._patience_s = limit_s * REAL_PER_CPU + SLACK_S
        self._process: subprocess.Popen[bytes] | None = None
        self._received = b""
        self._start()

    def grade(self, batch: Sequence[Arguments]) -> list[Grading]:
        """One grading an item. Raises GraderError where a grader does not start."""
        found: list[Grading] = []
        while len(found) < len(batch):
            if self._process is None:
                self._start()
            self._await_grader()
            found += self._grade_until_lost(batch[len(found) :])
        return found

    def _grade_until_lost(self, batch: Sequence[Arguments]) -> list[Grading]:
        """Gradings of the batch's items up to the one, included, that ended its grader."""
        found: list[Grading] = []
        self._send(batch)
        for _ in batch:
            record = self._record(self._patience_s)
            if record is None:  # even the clock's limit was got round: end the whole group
                self.close()
            if record is None or record[0] not in (GRADED, FAILED):
                self._ready = record is not None
                return [*found, Grading(0.0, ended=False)]
            if record[0] == GRADED:
                found.append(Grading(record[1], ended=True))
            else:
                reason = self._take(int(record[1]), self._patience_s) or b""
                found.append(Grading(0.0, ended=False, fault=reason.decode(errors="replace")))
        return found

    def _start(self) -> None:
        request_end, self._requests = os.pipe()
        self._replies, reply_end = os.pipe()
        # Isolated mode and an empty environment: the import path is all that is handed on.
        path = [os.path.abspath(folder) for folder in sys.path]
        begin = f"import sys; sys.path[:] = {path!r}; from {worker.__name__} import main; main()"
        words = [*self._command, str(request_end), str(reply_end)]
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", begin, *words],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(request_end, reply_end),
        )
        os.close(request_end)
        os.close(reply_end)
        self._received = b""
        self._ready = False

    def _await_grader(self) -> None:
        """Wait for the record with which a new grader says that it is there."""
        if self._ready:
            return
        record = self._record(START_S)
        if record is None:
            self.close()
            raise GraderError(f"the grader {self._command[0]} did not start; see above")
        self.is_confined = record[0] != UNCONFINED
        self._ready = True

    def _send(self, batch: Sequence[Arguments]) -> None:
        content = pickle.dumps(list(batch))
        left = memoryview(LENGTH.pack(len(content)) + content)
        with contextlib.suppress(BrokenPipeError):  # it ended: its reply says so
            while left:
                left = left[os.write(self._requests, left) :]

    def _record(self, patience_s: float) -> tuple[bytes, float] | None:
        """The next record; None where it does not come in time, or the process ended."""
        content = self._take(RECORD.size, patience_s)
        return None if content is None else RECORD.unpack(content)

    def _take(self, size: int, patience_s: float) -> bytes | None:
        """The next `size` bytes; None where they do not come in time, or the process ended."""
        end = time.monotonic() + patience_s
        while len(self._received) < size:
            ready, _, _ = select.select([self._replies], [], [], max(0.0, end - time.monotonic()))
            part = os.read(self._replies, 1 << 16) if ready else b""
            if not part:
                return None
            self._received += part
        content, self._received = self._received[:size], self._received[size:]
        return content

    def close(self) -> None:
        """End the process and its grader."""
        if self._process is None:
            return
        os.close(self._requests)
        os.close(self._replies)
        self._process.kill()
        self._process.wait()
        self._process = None
