"""The commands that make the runs again."""

import json
import shlex

from labrun.config.words import expand
from labrun.results.page.again import steps
from labrun.runs.record import records


def texts(runs):
    return [line for one in steps(records(runs), "lab report --group g") for line in one.lines]


def points(text):
    """The runs that a command stands for."""
    return sorted(sorted(point) for point in expand(shlex.split(text)[3:]))


def test_all_combinations_are_one_sweep(language_run):
    runs = [language_run(method=m, seed=s) for m in ("grpo", "rlrt") for s in (0, 1)]
    sweep, page = texts(runs)
    assert sweep == "lab run -m plugin=rlrt method=grpo,rlrt seed=0,1 group=g"
    assert page == "lab report --group g"
    wanted = [
        sorted(["plugin=rlrt", f"method={m}", f"seed={s}", "group=g"])
        for m in ("grpo", "rlrt")
        for s in (0, 1)
    ]
    assert points(sweep) == sorted(wanted)


def test_what_is_no_product_is_a_sweep_over_seeds_for_each_arm(language_run):
    runs = [language_run(method="grpo", seed=s) for s in (0, 1)]
    runs.append(language_run(method="rlrt", seed=0, overrides=["beta=0.1"]))
    assert texts(runs)[:2] == [
        "lab run -m plugin=rlrt method=grpo seed=0,1 group=g",
        "lab run plugin=rlrt method=rlrt seed=0 beta=0.1 group=g",
    ]


def test_arms_of_equal_seeds_are_one_sweep(language_run):
    runs = [language_run(method=m, seed=s) for m in ("grpo", "rlrt") for s in (0, 1)]
    runs.append(language_run(method="sdpo", seed=3))
    assert texts(runs)[:2] == [
        "lab run -m plugin=rlrt method=grpo,rlrt seed=0,1 group=g",
        "lab run plugin=rlrt method=sdpo seed=3 group=g",
    ]


def test_a_value_with_a_comma_is_not_swept(language_run):
    runs = [language_run(overrides=[f"name='a,{n}'"], seed=0) for n in (1, 2)]
    found = texts(runs)[:-1]
    assert [shlex.split(text)[2:] for text in found] in (
        [[*r.experiment().overrides, "group=g"] for r in runs],
        [["-m", "plugin=rlrt", "method=grpo", "seed=0", "name='a,1','a,2'", "group=g"]],
    )


def test_secrets_in_addresses_are_masked(language_run):
    run = language_run(overrides=["tracking.uri=http://me:word@host:1/"])
    assert "word@" not in " ".join(texts([run]))


def test_the_commit_is_checked_out_first_and_changes_are_said(language_run):
    run = language_run()
    one = {"distributions": ["labrun"], "commit": "abc123", "changed": True}
    (run.path / "provenance.json").write_text(json.dumps({"repositories": [one]}))
    first = steps(records([run]), "lab report")[0]
    assert first.lines == ["git checkout abc123"]
    assert first.what.startswith("the code of labrun; uncommitted changes lie in")
