"""Runs whose files are read once however often they are asked for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from labrun.experiment import Experiment
from labrun.runs.run_dir import RunDir, Status, scores_in, seconds_in, series_in
from labrun.runs.seals import DamagedError
from labrun.score import Score

Results = tuple[
    Mapping[str, dict[int, float]],
    dict[tuple[str, str], dict[int, Score]],
    dict[int, float],
    str | None,
]
"""Series, scores, seconds, and what is wrong with the events."""


@dataclass(frozen=True)
class SpecRecord(RunDir):
    """A run that may go on; only its spec, which never changes, is read once."""

    def experiment(self) -> Experiment:
        return self._experiment

    @cached_property
    def _experiment(self) -> Experiment:
        return super().experiment()


@dataclass(frozen=True)
class RunRecord(SpecRecord):
    """What a run's files say, as they were when each was first asked for.

    It answers like the `RunDir` of its path. The events are read in one pass and not kept.
    """

    def recorded_status(self) -> Status:
        return self._status

    def data_fingerprint(self) -> str | None:
        return self._data

    def series(self) -> Mapping[str, dict[int, float]]:
        self._refuse_damage()
        return self.results[0]

    def scores(self) -> dict[tuple[str, str], dict[int, Score]]:
        self._refuse_damage()
        return self.results[1]

    def seconds(self) -> dict[int, float]:
        self._refuse_damage()
        return self.results[2]

    def events_fault(self) -> str | None:
        return self.results[3]

    @cached_property
    def _status(self) -> Status:
        return super().recorded_status()

    @cached_property
    def _data(self) -> str | None:
        return super().data_fingerprint()

    def take(self, results: Results) -> None:
        """Results that another process has read for this one."""
        self.__dict__["results"] = results

    @cached_property
    def results(self) -> Results:
        """What the events say."""
        events: list[dict[str, Any]] = []
        try:
            events = self.current_events()
        except DamagedError as error:
            return {}, {}, {}, str(error)
        return series_in(events), scores_in(events), seconds_in(events), None

    def _refuse_damage(self) -> None:
        if fault := self.events_fault():
            raise DamagedError(fault)


def records(runs: Iterable[RunDir]) -> list[RunRecord]:
    """The runs as records, those that are records already as they are."""
    return [run if isinstance(run, RunRecord) else RunRecord(run.path) for run in runs]
