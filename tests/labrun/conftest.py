"""Runs written by hand, so that every expected number stands in the test."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from labrun.experiment import Experiment, RunConfig, TrackingConfig
from labrun.runs import run_dir
from labrun.runs.run_dir import RunDir


class Events:
    """Lines of events.jsonl."""

    @staticmethod
    def attempt(number: int, resumed_from: int | None = None) -> dict[str, Any]:
        return {"time": 1.0, "kind": "attempt", "attempt": number, "resumed_from": resumed_from}

    @staticmethod
    def metrics(step: int, **values: float) -> dict[str, Any]:
        return {"time": 2.0 + step, "kind": "metrics", "step": step, "metrics": values}

    @staticmethod
    def score(
        step: int,
        value: float,
        metric: str = "accuracy",
        task: str = "test",
        over: Sequence[str] = (),
    ) -> dict[str, Any]:
        fields = {"task": task, "metric": metric, "value": value, "n": 4, "items": [value] * 4}
        fields |= {"over": [*over]} if over else {}
        return {"time": 2.5 + step, "kind": "score", "step": step, "score": fields}


@pytest.fixture
def event() -> type[Events]:
    return Events


@pytest.fixture
def make_run(tmp_path) -> Callable[..., RunDir]:
    def make(
        *events: dict[str, Any],
        seed: int = 0,
        method: str = "plain",
        overrides: Iterable[str] = (),
        settings: Mapping[str, Any] = MappingProxyType({}),
        sections: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
        uri: str = "",
        plugin: str = "toy",
        trainer: str = "trainer",
        group: str = "g",
        state: str = "done",
        root: Path = tmp_path / "home",
    ) -> RunDir:
        experiment = Experiment(
            plugin=plugin,
            run=RunConfig(seed=seed, group=group, tracking=TrackingConfig(uri=uri)),
            settings={"trainer": {"max_steps": 3, "inner": {"rate": 0.5}, **settings}, **sections},
            components={"trainer": f"{plugin}.{trainer}"},
            choices={"method": method},
            overrides=("plugin=toy", f"method={method}", f"seed={seed}", *overrides),
        )
        run = run_dir.create(experiment, root=root)
        lines = "".join(json.dumps(one) + "\n" for one in events)
        (run.path / "events.jsonl").write_text(lines)
        run.write_status(state=state)
        return run

    return make
