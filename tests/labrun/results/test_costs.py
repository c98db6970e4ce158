"""What training has cost by a step."""

import pytest
from labrun.errors import LabError
from labrun.results import costs
from labrun.runs.record import RunRecord


def test_steps_and_sums_of_a_series(make_run, event):
    run = make_run(*(event.metrics(s, tokens=10.0 * s) for s in (1, 2, 4)), event.score(3, 0.5))
    record = RunRecord(run.path)
    assert costs.cost_at(record, "steps", [0, 3]).tolist() == [0, 3]
    # 10, 30, 70: nothing was logged at step 3
    assert costs.cost_at(record, "tokens", [0, 1, 3, 4]).tolist() == [0, 10, 30, 70]


def test_seconds_of_a_resumed_run_go_on_from_where_it_resumed(make_run, event):
    def at(time, line):
        return {**line, "time": time}

    run = make_run(
        at(100.0, event.attempt(0)),
        at(110.0, event.metrics(1, loss=1.0)),
        at(130.0, event.metrics(2, loss=1.0)),
        at(150.0, event.metrics(3, loss=1.0)),  # lost: the next attempt goes on from step 2
        at(900.0, event.attempt(1, resumed_from=2)),
        at(905.0, event.metrics(3, loss=1.0)),
        at(907.0, event.score(3, 0.5)),
    )
    record = RunRecord(run.path)
    assert record.seconds() == {1: 10.0, 2: 30.0, 3: 37.0} == run.seconds()
    assert costs.cost_at(record, "seconds", [0, 2, 3]).tolist() == [0, 30, 37]


def test_samples_are_counted_by_the_trainer_s_settings(make_run, event):
    rollouts = {"prompts_per_step": 4, "num_generations": 8}
    run = make_run(event.score(3, 0.5), plugin="rlrt", trainer="rlrt", settings=rollouts)
    assert costs.cost_at(RunRecord(run.path), "samples", [0, 3]).tolist() == [0, 96]
    episodes = {"batch_size": 5}
    run = make_run(event.score(3, 0.5), plugin="stairs", trainer="stairs", settings=episodes)
    assert costs.samples_a_step(RunRecord(run.path)) == 5


def test_a_cost_that_a_run_does_not_know_is_refused(make_run, event):
    record = RunRecord(make_run(event.metrics(1, tokens=1.0)).path)
    with pytest.raises(LabError, match=r"no cost 'token'.*did you mean 'tokens'"):
        costs.check("token", [record])
    costs.check("seconds", [record])
