"""Runs of earlier versions, whose specs lack keys."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from labrun.config.experiments import studied
from labrun.errors import LabError
from labrun.experiment import Experiment
from labrun.runs import run_dir
from labrun.suites.earlier import completed, later_keys
from labrun.suites.needed import Needed, held, key_of


@pytest.fixture(scope="module")
def today() -> Experiment:
    return studied(["plugin=stairs", "method=bc_t", "scale=tiny"])[0]


def changed(experiment: Experiment, **trainer: Any) -> Experiment:
    """The experiment with these keys of its trainer."""
    values = {**experiment.settings["trainer"], **trainer}
    return dataclasses.replace(experiment, settings={**experiment.settings, "trainer": values})


def without_clip(experiment: Experiment) -> Experiment:
    kept = {k: v for k, v in experiment.settings["trainer"].items() if k != "max_grad_norm"}
    return dataclasses.replace(experiment, settings={**experiment.settings, "trainer": kept})


def found(tmp_path, experiment: Experiment, wanted: Experiment) -> Mapping[str, Any]:
    run = run_dir.create(experiment, root=tmp_path)
    return held([run], [Needed("a", {}, 0, wanted, ())])


def test_a_key_that_came_later_counts_at_its_default(tmp_path, today):
    earlier = without_clip(today)
    assert later_keys(earlier) == ["trainer.max_grad_norm"]
    assert completed(earlier) == today
    assert list(found(tmp_path, earlier, today)) == [key_of(today)]


def test_a_run_lacks_nothing_of_its_own_version(today):
    assert completed(today) == today
    assert later_keys(today) == []


def test_it_is_another_run_where_the_suite_sets_that_key(tmp_path, today):
    wanted = changed(today, max_grad_norm=7.0)
    assert found(tmp_path, without_clip(today), wanted) == {}


def test_a_key_that_is_gone_makes_another_run(tmp_path, today):
    assert found(tmp_path, changed(today, gone=1), today) == {}


def test_a_component_that_is_gone_is_refused(today):
    components = {**today.components, "trainer": "stairs.gone"}
    with pytest.raises(LabError, match="gone"):
        completed(dataclasses.replace(today, components=components))
