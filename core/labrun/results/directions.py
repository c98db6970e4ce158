"""What a metric's name says: whether more or less of it is better, and whether it is a rate."""

from collections.abc import Sequence

RATES = ("accuracy", "pass@", "win_rate", "success")
"""Beginnings of metrics that are shares of problems or episodes: 0 to 1, and more is better."""
HIGHER = (*RATES, "return", "reward", "score")
"""Beginnings of metrics of which more is better."""
LOWER = ("loss", "error", "perplexity", "regret")


def direction(metric: str, *, lower: Sequence[str] = (), task: str = "") -> int:
    """1 where more of the metric is better, -1 where less is, 0 where neither is known."""
    if metric in lower or f"{task}/{metric}" in lower:
        return -1
    if _name(metric).startswith(HIGHER):
        return 1
    return -1 if _name(metric).startswith(LOWER) else 0


def is_rate(metric: str) -> bool:
    """Whether the metric is a share of problems or episodes, which has one meaning on all tasks."""
    return _name(metric).startswith(RATES)


def _name(metric: str) -> str:
    return metric.rpartition("/")[2]
