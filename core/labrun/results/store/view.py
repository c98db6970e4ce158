"""The training view of a group of runs in MLflow: which runs, columns and charts it opens with.

MLflow keeps a view that somebody shares as a tag of the experiment. `lab ui` writes one of its own
there, for the group that it opens. A chart that is not in it, MLflow adds by itself.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from labrun.results.store.names import EVAL, TIME, TRAIN, stored_name
from labrun.results.store.run_names import UNSWEPT

KEY = "labrun"
VIEW_TAG = f"mlflow.sharedViewState.{KEY}"
OVERVIEW = "settings and scores"
SECTIONS = tuple(name.removesuffix("/") for name in (EVAL, TRAIN, TIME))
"""In their order on the page."""
MOST_AXES = 6
MOST_OVERVIEWS = 3
MOST_SCORES = 3
MOST_COLUMNS = 4
"""Scores among the columns of the list."""
NAMED = ("plugin", "method", "seed")


@dataclass
class Stored:
    """What the store holds of a group's runs, by MLflow's ids of them."""

    runs: frozenset[str]
    said: frozenset[str] = frozenset()
    """Keys that the runs' commands name."""
    params: dict[str, dict[str, str]] = field(default_factory=dict)
    """Setting -> run -> its value."""
    metrics: dict[str, dict[str, int]] = field(default_factory=dict)
    """Metric -> run -> the greatest step."""


def stored_group(database: sqlite3.Connection, group: str) -> Stored:
    """What the store holds of the live runs of the group."""
    runs = (
        "select t.run_uuid from tags t join runs r using (run_uuid)"
        " where t.key = 'group' and t.value = ? and r.lifecycle_stage = 'active'"
    )
    commands = f"select r.run_uuid, source_name from runs r where r.run_uuid in ({runs})"
    made = dict(database.execute(commands, (group,)).fetchall())
    words = (word.partition("=")[0] for source in made.values() for word in source.split())
    found = Stored(frozenset(made), frozenset(words))
    for table, value, into in (
        ("params", "value", found.params),
        ("latest_metrics", "step", found.metrics),
    ):
        words = f"select key, run_uuid, {value} from {table} where run_uuid in ({runs})"
        for key, run, one in database.execute(words, (group,)):
            into.setdefault(key, {})[run] = one
    return found


def view_of(group: str, stored: Stored) -> dict[str, Any]:
    """MLflow's view of these runs: their list and columns, charts by section, scores first."""
    overview = [
        _parallel(axes, scores)
        for runs, scores in families(stored).items()
        if (axes := swept(stored, runs))
    ][:MOST_OVERVIEWS]
    names = sorted({_section_of(metric) for metric in stored.metrics}, key=_rank)
    sections = [_section(name) for name in ([OVERVIEW] if overview else []) + names]
    charts = [_chart(metric, max(stored.metrics[metric].values())) for metric in _ordered(stored)]
    return {
        "searchFilter": f"tags.`group` = {_quoted(group)}",
        "orderByKey": "attributes.start_time",
        "orderByAsc": True,
        "selectedColumns": _columns(stored),
        "runsHiddenMode": "FIRST_20_RUNS",
        "isAccordionReordered": True,
        "compareRunCharts": overview + charts,
        "compareRunSections": sections,
    }


def _columns(stored: Stored) -> list[str]:
    axes = swept(stored, stored.runs)
    scores = [score for scores in families(stored).values() for score in scores]
    return [
        "attributes.`Dataset`",
        *(f"tags.`{name}`" for name in ("plugin", "method", "state")),
        *(f"params.`{axis}`" for axis in axes if axis not in NAMED),
        *(f"metrics.`{score}`" for score in scores[:MOST_COLUMNS]),
    ]


def _ordered(stored: Stored) -> list[str]:
    """The metrics in the order of their charts: those that more runs have come first."""
    return sorted(stored.metrics, key=lambda name: (-len(stored.metrics[name]), name))


def keep_view(database: sqlite3.Connection, experiment: int, view: Mapping[str, Any]) -> None:
    """Write the view where MLflow looks for it, in the place of the one before."""
    with database:
        database.execute(
            "insert or replace into experiment_tags (key, value, experiment_id) values (?, ?, ?)",
            (VIEW_TAG, json.dumps(view), experiment),
        )


def swept(stored: Stored, runs: frozenset[str]) -> list[str]:
    """The settings that differ between these runs, that all have and that a command names."""
    values = {key: [of[run] for run in runs if run in of] for key, of in stored.params.items()}
    differing = [k for k, v in values.items() if len(v) == len(runs) and len(set(v)) > 1]
    own = [key for key in named(stored, stored.said - UNSWEPT) if key in differing]
    return [*(key for key in NAMED if key in differing), *own][:MOST_AXES]


def named(stored: Stored, keys: Iterable[str]) -> list[str]:
    """The settings that these keys of a command name, in the order of the settings."""
    ends = [f".{stored_name(key)}" for key in keys]
    return [key for key in stored.params if any(f".{key}".endswith(end) for end in ends)]


def families(stored: Stored) -> dict[frozenset[str], list[str]]:
    """Runs that have scores in common -> these scores; the largest family first.

    MLflow draws a run among parallel axes only if it has a value on each of them.
    """
    found: dict[frozenset[str], list[str]] = {}
    for name in sorted(stored.metrics):
        if name.startswith(EVAL):
            found.setdefault(frozenset(stored.metrics[name]), []).append(name)
    ordered = sorted(found.items(), key=lambda item: -len(item[0]))
    return {runs: scores[:MOST_SCORES] for runs, scores in ordered}


def _quoted(text: str) -> str:
    return f'"{text}"' if "'" in text else f"'{text}'"


def _section_of(metric: str) -> str:
    """The part of the name before its first slash."""
    return metric.partition("/")[0]


def _rank(section: str) -> int:
    return SECTIONS.index(section) if section in SECTIONS else len(SECTIONS)


def _section(name: str) -> dict[str, Any]:
    return {
        "uuid": _id("section", name),
        "name": name,
        "display": True,
        "isReordered": False,
        "deleted": False,
        "isGenerated": name != OVERVIEW,
        "columns": 1 if name == OVERVIEW else 3,  # parallel axes need the width
    }


def _id(kind: str, name: str) -> str:
    return f"{KEY}-{kind}-{name}"


def _card(kind: str, name: str, section: str, **more: Any) -> dict[str, Any]:
    return {
        "uuid": _id("chart", name),
        "type": kind,
        "runsCountToCompare": 20,
        "metricSectionId": _id("section", section),
        "deleted": False,
        "isGenerated": kind != "PARALLEL",
        **more,
    }


def _parallel(axes: Sequence[str], scores: Sequence[str]) -> dict[str, Any]:
    return _card(
        "PARALLEL",
        f"{OVERVIEW} {scores[0]}",
        OVERVIEW,
        displayName=f"settings and {scores[0]}",
        selectedParams=list(axes),
        selectedMetrics=list(scores),
        showAllRuns=False,
    )


def _chart(metric: str, last_step: int) -> dict[str, Any]:
    """A curve, or bars for what was taken before the first step alone."""
    shown = dict(_settings(metric, last_step))
    return _card("LINE" if last_step >= 1 else "BAR", metric, _section_of(metric), **shown)


def _settings(metric: str, last_step: int) -> Iterator[tuple[str, Any]]:
    yield "metricKey", metric
    yield "displayName", metric.partition("/")[2]
    if last_step >= 1:
        yield from {
            "lineSmoothness": 0,
            "xAxisScaleType": "linear",
            "scaleType": "linear",
            "range": {},
            "xAxisKey": "step",
            "selectedXAxisMetricKey": "",
            "yAxisKey": "metric",
            "yAxisExpressions": [],
            "ignoreOutliers": False,
            "useGlobalXaxisKey": True,
            "useGlobalLineSmoothing": True,
        }.items()
