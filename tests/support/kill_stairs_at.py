"""A STAIRS worker that dies by SIGKILL at a chosen moment, or at none."""

import sys

from kill_at import dying
from lab_marl.datasets import cache
from lab_marl.evaluation import rollouts
from lab_stairs import learner
from labrun import worker


def arm(moment: str) -> None:
    if moment == "data":
        cache.generate = dying(cache.generate, call=2)  # one file is there, the other is not
    elif moment == "update":
        learner.td_loss = dying(learner.td_loss, call=4)  # in the fourth step
    elif moment == "evaluation":
        # after the checkpoint of step 4, before the first test task has been played
        rollouts.score_episodes = dying(rollouts.score_episodes, call=3)
    else:
        raise SystemExit(f"no moment {moment!r}")


def work(path: str, moment: str = "") -> None:
    """The worker of the run in `path`."""
    if moment:
        arm(moment)
    sys.exit(worker.main([path]))
