"""What a finished run is warned of: it took its steps, and nothing could be learned from them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labrun.runs.context import RunContext

Series = Mapping[str, Mapping[int, float]]
"""Metric -> step -> value."""


def warn_of_dead_run(ctx: "RunContext", *, distils: bool) -> None:
    """Warn once of what `faults` finds in the run's metrics."""
    if ctx.rank > 0:
        return
    told = {event["message"] for event in ctx.run.current_events() if event["kind"] == "note"}
    for message in faults(ctx.run.series(), distils=distils):
        if message not in told:
            ctx.warn(message)


def faults(series: Series, *, distils: bool) -> list[str]:
    """What is wrong with a run whose rewards or gradients are all the same, a sentence each.

    `distils`: the loss is the distance to a teacher, which equal rewards do not make 0.
    """
    rewards = series.get("reward", {}).values()
    if not rewards:
        return []
    found: list[str] = []
    if not any(rewards):
        found.append(
            f"reward 0 at every step ({len(rewards)} logged): no completion was right"
            f"{_truncation(series)}; look at the completions, the answers and the verifier"
        )
    elif not distils and _always(series, "uniform_group_fraction", 1.0):
        found.append(
            f"every group had equal rewards at every step ({len(rewards)} logged, mean reward "
            f"{sum(rewards) / len(rewards):.3g}): all advantages were 0 and nothing was learned "
            "from the rewards; take problems that are solved now and then, or more generations"
        )
    if _always(series, "grad_norm", 0.0):
        found.append(f"the gradient was 0 at every step ({len(rewards)}): nothing was learned")
    return found


def _always(series: Series, name: str, value: float) -> bool:
    values = series.get(name, {}).values()
    return bool(values) and all(one == value for one in values)


def _truncation(series: Series) -> str:
    if not _always(series, "truncated_fraction", 1.0):
        return ""
    return ", and each was cut off at trainer.max_completion_length"
