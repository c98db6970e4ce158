"""Filters keep the runs for which every word holds."""

import json
import time

import pytest
from labrun.errors import LabError
from labrun.runs import filters, notes, run_index
from labrun.runs.filters import Clause


@pytest.fixture
def chosen(make_run, event):
    """`chosen(text, sort="")`: the seeds of the runs that are left, of four."""
    runs = [
        make_run(event.score(3, 0.2), seed=0, method="rlrt"),
        make_run(event.score(0, 0.9), event.score(3, 0.85), seed=1, method="rlrt"),
        make_run(event.score(3, 0.9), seed=2, method="grpo", settings={"batch": 4}),
        make_run(seed=3, method="grpo", state="failed", group="other"),
    ]
    notes.tag(runs[0].path, add=["good", "first"])
    notes.change(runs[1].path, name="my best, yet")

    def select(text: str, sort: str = "") -> list[int]:
        entries = run_index.entries(runs[0].path.parent)
        return [run.entry.facts["seed"] for run in filters.select(entries, text, sort).runs]

    return select


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("", [0, 1, 2, 3]),
        ("method=rlrt state=done test/accuracy>0.8", [1]),
        ("test/accuracy>0.8", [1, 2]),
        ("test/accuracy>=0.9 test/accuracy<=0.9", [2]),
        ("test/accuracy<1", [0, 1, 2]),
        ("method=rlrt,grpo", [0, 1, 2, 3]),
        ("method!=rlrt,ppo", [2, 3]),
        ("seed=1,3", [1, 3]),
        ("seed>=2", [2, 3]),
        ("seed=1.0", [1]),
        ("tag=good", [0]),
        ("tag=first,last", [0]),
        ("tag!=good", [1, 2, 3]),
        ("tag=", [1, 2, 3]),
        ("name='my best, yet'", [1]),
        ('name="my best, yet",nobody', [1]),
        ("group=other", [3]),
        ("state!=done", [3]),
        ("trainer.inner.rate=5e-1", [0, 1, 2, 3]),
        ("rate=0.5 max_steps=3", [0, 1, 2, 3]),
        ("batch>3", [2]),
        ("batch!=4", [0, 1, 3]),
        ("plugin=toy trainer=toy.trainer launcher=local", [0, 1, 2, 3]),
        ("resources.num_gpus=0 resources.wait=false", [0, 1, 2, 3]),
        ("archived=false created>2000-01-01", [0, 1, 2, 3]),
        ("created<2000-01-01", []),
        ("method>h", [0, 1]),
        ("name>5", [1]),
    ],
)
def test_a_filter_keeps_the_runs_for_which_all_its_words_hold(chosen, text, seeds):
    assert chosen(text) == seeds


@pytest.mark.parametrize(
    ("sort", "seeds"),
    [
        ("test/accuracy", [0, 1, 2, 3]),
        ("-test/accuracy", [2, 1, 0, 3]),
        ("-seed", [3, 2, 1, 0]),
        ("method", [2, 3, 0, 1]),
        ("batch", [2, 0, 1, 3]),
        ("-state", [3, 0, 1, 2]),
    ],
)
def test_runs_stand_by_a_key_and_those_without_it_last(chosen, sort, seeds):
    assert chosen("", sort) == seeds


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("metod=rlrt", "no key 'metod' of these runs; did you mean 'method'?"),
        ("test/acuracy>0", "did you mean 'test/accuracy'?"),
        ("max_stepz=1", "did you mean 'trainer.max_steps'?"),
        ("state=dnoe", "no state 'dnoe'; did you mean 'done'?"),
        ("state", "cannot read 'state' in the filter, expected KEY OP VALUE"),
        ("=1", "cannot read '=1'"),
        ("name='a", "a quote is not closed"),
        ("seed>1,2", "> takes one value"),
        ("seed<", "< takes one value"),
    ],
)
def test_a_word_that_cannot_be_meant_is_refused_with_what_can(chosen, text, told):
    with pytest.raises(LabError) as error:
        chosen(text)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("text", "is_kept"),
    [
        ("created<2026-11-26", False),
        ("created>2026-11-26", False),
        ("created<=2026-11-26", True),
        ("created>=2026-11-26", True),
        ("created<2026-11-27", True),
        ("created>2026-11", False),
        ("created<2026-11-26T10:16", True),
        ("created<2026-11-26T10:15", False),
        ("created>2026-11-26T10:14:59", True),
        ("created<=2026-11-26T10:15:00", True),
        ("created<2026-11-26T10:15:00", False),
        ("created=2026-11-26", True),
        ("created=2026-11-26T10:15:00", True),
        ("created!=2026-11-26", False),
        ("created=2026-11-27", False),
    ],
)
def test_a_time_of_creation_is_compared_as_exactly_as_the_filter_says_it(make_run, text, is_kept):
    run = make_run()
    began = time.mktime((2026, 11, 26, 10, 15, 0, 0, 0, -1))
    spec = json.loads((run.path / "spec.json").read_text())
    (run.path / "spec.json").write_text(json.dumps(spec | {"created": began}))
    found = filters.select(run_index.entries(run.path.parent), text).runs
    assert len(found) == is_kept


def test_an_ambiguous_end_of_a_key_is_refused(make_run):
    run = make_run(settings={"a": {"rate": 1}})
    entries = run_index.entries(run.path.parent)
    with pytest.raises(LabError, match=r"write trainer.a.rate or trainer.inner.rate"):
        filters.select(entries, "rate=1")


def test_a_quoted_value_holds_spaces_and_commas():
    assert filters.parse("""a="x y,z",b c!='d=e'""") == [
        Clause("a", "=", ("x y,z", "b")),
        Clause("c", "!=", ("d=e",)),
    ]


def test_a_run_whose_events_are_damaged_is_left_out_of_scores_and_named(make_run, event):
    good, bad = make_run(event.score(3, 0.9)), make_run(event.score(3, 0.9), seed=1)
    from labrun.runs.seals import Seal

    bad.write_status(sealed=Seal((bad.path / "events.jsonl").stat().st_size, "0" * 64))
    entries = run_index.entries(good.path.parent)
    left = filters.select(entries, "test/accuracy>0.5")
    assert [entry.id for entry in left.entries] == [good.id]
    assert "its bytes are not those that the run wrote" in left.unasked[bad.id]
    assert len(filters.select(entries, "state=done").runs) == 2


def test_scores_are_read_of_the_runs_alone_that_the_other_words_left(make_run, event, monkeypatch):
    make_run(event.score(3, 0.9), seed=0)
    wanted = make_run(event.score(3, 0.9), seed=1)
    read = []
    last = filters.RunFacts.values
    monkeypatch.setattr(
        filters.RunFacts,
        "values",
        lambda run, key: read.append((run.entry.facts["seed"], key)) or last(run, key),
    )
    entries = run_index.entries(wanted.path.parent)
    filters.select(entries, "test/accuracy>0.5 seed=1")
    assert read[-3:] == [(0, "seed"), (1, "seed"), (1, "test/accuracy")]
