"""What a run logged or scored under one name."""

from collections.abc import Iterable, Sequence

from labrun.errors import unknown
from labrun.runs.run_dir import RunDir


def points(run: RunDir, metric: str) -> dict[int, float]:
    """Step -> value of a logged series or of a score."""
    logged = run.series()
    if metric in logged:
        return logged[metric]
    task, _, name = metric.rpartition("/")
    return {step: score.value for step, score in run.scores().get((task, name), {}).items()}


def metric_names(runs: Iterable[RunDir]) -> list[str]:
    """Every name that `points` knows for any of the runs."""
    names: dict[str, None] = {}
    for run in runs:
        names |= dict.fromkeys(run.series())
        names |= {f"{task}/{metric}": None for task, metric in run.scores()}
    return list(names)


def check_metrics(wanted: Sequence[str], runs: Sequence[RunDir]) -> None:
    known = metric_names(runs)
    for name in wanted:
        if name not in known:
            raise unknown("metric", name, known)
