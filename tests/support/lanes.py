"""Which test process gets which file."""

import os
import time
from collections.abc import Collection

import psutil
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController


def busy() -> str:
    """How much of the machine the test processes and all that they started have used."""
    times, seconds = os.times(), time.time() - psutil.Process().create_time()
    used = times.user + times.system + times.children_user + times.children_system
    cores = len(os.sched_getaffinity(0))
    share = used / seconds / cores
    return f"{used:.0f} CPU seconds in {seconds:.0f} s: {share:.0%} of {cores} processors"


class Lanes(LoadFileScheduling):
    """Files that mostly wait go to the first half of the test processes, those that compute to the
    second half. A process whose kind is done takes of the other.

    Else all may wait at once while no core works, and all compute at once later.
    """

    def __init__(self, config: pytest.Config, log: Producer, waiting: Collection[str]) -> None:
        super().__init__(config, log)
        self.waiting = waiting

    def _assign_work_unit(self, node: WorkerController) -> None:
        # What a crashed process leaves may hold files that are done. xdist would send such a file
        # as no tests at all, and the process that gets it would wait for ever.
        for file in [file for file, tests in self.workqueue.items() if all(tests.values())]:
            del self.workqueue[file]
        if not self.workqueue:
            return node.shutdown()
        waits = self.nodes.index(node) < len(self.nodes) // 2
        own = [file for file in self.workqueue if (file in self.waiting) == waits]
        for file in own[:1]:
            self.workqueue.move_to_end(file, last=False)
        super()._assign_work_unit(node)
