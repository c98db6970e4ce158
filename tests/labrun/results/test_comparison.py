"""Which runs are in a comparison, and what is said of the others."""

import json

import pytest
from labrun.errors import LabError
from labrun.results.comparison import beside_the_labels, comparison_of, mixed


def provenance(run, *commits):
    repositories = [{"commit": commit, "changed": False} for commit in commits]
    (run.path / "provenance.json").write_text(json.dumps({"repositories": repositories}))


def test_runs_that_are_not_done_are_named_with_their_arm_and_step(make_run, event):
    done = make_run(event.score(3, 0.5))
    failed = make_run(event.score(1, 0.1), seed=1, state="failed")
    failed.write_status(step=2)
    other = make_run(seed=2, method="eps", state="refused")
    found = comparison_of([done, failed, other])
    assert found.not_done == {failed.id: "plain: failed at step 2", other.id: "eps: refused"}
    assert found.num_runs == 3
    assert [run.id for run in found.runs] == [done.id]


def test_damaged_runs_are_named_with_their_fault(make_run, event):
    done = make_run(event.score(3, 0.5))
    bad = make_run(event.score(3, 0.5), seed=1)
    (bad.path / "spec.json").write_text("{")
    found = comparison_of([done, bad])
    assert list(found.damaged) == [bad.id]
    assert found.left_out[bad.id].startswith("damaged: ")


def test_of_equal_settings_and_seed_in_other_groups_the_newest_counts(make_run, event):
    old = make_run(event.score(3, 0.1), group="monday")
    new = make_run(event.score(3, 0.9), group="tuesday")
    spec = json.loads((old.path / "spec.json").read_text())
    (old.path / "spec.json").write_text(json.dumps(spec | {"created": 1.0}))
    found = comparison_of([new, old])
    assert found.repeated == {old.id: new.id}
    assert found.table.rows["test", "accuracy"]["plain"].mean == 0.9


def test_a_seed_twice_in_one_group_is_refused(make_run, event):
    runs = [make_run(event.score(3, value)) for value in (0.1, 0.9)]
    with pytest.raises(LabError, match="'plain' has runs of equal seed"):
        comparison_of(runs)


def test_an_arm_of_several_versions_of_the_code_is_named(make_run, event):
    runs = [make_run(event.score(3, 0.5), seed=seed) for seed in (0, 1)]
    provenance(runs[0], "a" * 40)
    provenance(runs[1], "b" * 40)
    (said,) = mixed(comparison_of(runs).arms)
    assert said == (
        f"plain is of several versions of the code: aaaaaaa ({runs[0].id}), bbbbbbb ({runs[1].id})"
    )


def test_an_arm_of_several_data_is_named(make_run, event):
    runs = [make_run(event.score(3, 0.5), seed=seed) for seed in (0, 1)]
    for run in runs:
        (run.path / "data.json").write_text(json.dumps({"fingerprint": f"{run.id[-4:]}" * 5}))
    (said,) = mixed(comparison_of(runs).arms)
    assert said.startswith("plain is of several versions of the data: ")


def test_code_that_differs_between_arms_stands_with_the_settings(make_run, event):
    runs = [make_run(event.score(3, 0.5), method=method) for method in ("eps", "ucb")]
    provenance(runs[0], "a" * 40)
    provenance(runs[1], "b" * 40)
    found = comparison_of(runs)
    assert beside_the_labels(found.arms) == {"code": {"aaaaaaa": ["eps"], "bbbbbbb": ["ucb"]}}
    assert mixed(found.arms) == []


def test_a_row_that_is_not_there_is_refused(make_run, event):
    run = make_run(event.score(3, 0.5))
    with pytest.raises(LabError, match="no score 'acuracy'; did you mean 'accuracy'"):
        comparison_of([run], scores=["acuracy"])


def test_arms_without_a_common_seed_are_in_the_table_and_not_in_the_tests(make_run, event):
    runs = [
        make_run(event.score(3, 0.5), seed=seed, method=method)
        for method, seeds in (("eps", (0, 1)), ("ucb", (1, 2)), ("far", (7, 8)))
        for seed in seeds
    ]
    found = comparison_of(runs, baseline="eps")
    assert {d.arm for d in found.against} == {"ucb"}
    assert found.table.columns == ("eps", "far", "ucb")
