"""Ends jobs at once by their supervisors' actors: `python -m labrun.launch.ray.release ID...`.

It runs on a node of the cluster. Ray's own stop would first start a job that waits, would wait for
one that has hung, and leaves a supervisor alone that has outlived its job.
"""

import sys
from collections.abc import Sequence

import ray
from ray.dashboard.modules.job.common import (
    JOB_ACTOR_NAME_TEMPLATE,
    SUPERVISOR_ACTOR_RAY_NAMESPACE,
)


def main(ids: Sequence[str]) -> int:
    ray.init(address="auto", namespace=SUPERVISOR_ACTOR_RAY_NAMESPACE, log_to_driver=False)
    for one in ids:
        try:
            ray.kill(ray.get_actor(JOB_ACTOR_NAME_TEMPLATE.format(job_id=one)))
        except ValueError:  # it is gone
            continue
        print(f"lab: ended the supervisor of {one}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
