"""Where an evaluation may be stopped: between its batches, on all ranks at the same one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from labrun.errors import PreemptedError

from lab_llm.distributed.ranks import any_rank, largest

if TYPE_CHECKING:
    from labrun.runs.context import RunContext


def stop_if_asked(ctx: "RunContext", *, before: str) -> None:
    """A sign of life. Raises PreemptedError, on all ranks, where one of them was asked to stop.

    All ranks call it together.
    """
    ctx.heartbeat()
    if any_rank(ctx.should_stop):
        ctx.should_stop = True
        raise PreemptedError(f"stopped before {before}")


class StopPoints:
    """One point after each of this rank's batches, as many on every rank."""

    def __init__(self, ctx: "RunContext", num_points: int, *, work: str) -> None:
        self._ctx, self._left, self._work = ctx, num_points, work

    def __call__(self) -> None:
        """A batch is done. Raises PreemptedError where a rank was asked to stop."""
        self._left -= 1
        stop_if_asked(self._ctx, before=f"the end of {self._work}")

    def pass_rest(self) -> None:
        """Meet the ranks that have more batches than this one."""
        while self._left > 0:
            self()


@contextmanager
def stop_points(
    ctx: "RunContext", num_items: int, batch_size: int, *, work: str
) -> Iterator[StopPoints]:
    """What is to be called after each batch of `num_items`, which all ranks share.

    The shares are dealt out by whole batches or item by item: no rank has more batches than
    `num_items` shared by all ranks makes, rounded up.
    """
    points = StopPoints(ctx, -(-num_items // (batch_size * ctx.world_size)), work=work)
    yield points
    points.pass_rest()


@contextmanager
def own_stop_points(
    ctx: "RunContext", num_mine: int, batch_size: int, *, work: str
) -> Iterator[StopPoints]:
    """The same, after each batch of the `num_mine` items that this rank has got, however many.

    All ranks enter together.
    """
    points = StopPoints(ctx, largest(-(-num_mine // batch_size)), work=work)
    yield points
    points.pass_rest()
