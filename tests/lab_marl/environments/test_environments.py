"""The table of families."""

import pytest
from lab_marl.datasets.suites import SUITES
from lab_marl.environments import layout_of, make
from labrun.errors import LabError

OWN = [
    task
    for name, suite in SUITES.items()
    if name.startswith(("grid", "battle"))
    for task in suite.test
]


@pytest.mark.parametrize("task", sorted(set(OWN)))
def test_every_task_of_the_suites_has_a_layout_that_names_it(task):
    made = layout_of(task)
    assert (made.task, made.family) == (task, "grid" if task.startswith("cn-") else "battle")


def test_make_gives_as_many_copies_as_asked_for():
    env = make("cn-3", 5)
    assert (env.num_envs, env.layout) == (5, layout_of("cn-3"))
    assert env.reset(0).obs.shape == (5, 3, 12)


@pytest.mark.parametrize("task", ["cn-1", "cn-16", "battle-2m", "chess"])
def test_an_unknown_task_is_refused_with_examples_of_every_family(task):
    with pytest.raises(
        LabError, match=rf"no task '{task}'.*cn-2.*battle-3m.*smax-3m.*spread-3.*3m"
    ):
        layout_of(task)
