"""The table as it is printed: the best of a row, marks, notes."""

import pytest
from labrun.results import compare
from labrun.results.comparison import comparison_of
from labrun.results.directions import direction


@pytest.mark.parametrize(
    ("metric", "sign"),
    [("accuracy", 1), ("pass@8", 1), ("win_rate", 1), ("train/loss", -1), ("epistemic_words", 0)],
)
def test_a_metric_s_name_says_what_is_better(metric, sign):
    assert direction(metric) == sign


def test_the_user_has_the_last_word():
    assert direction("accuracy", lower=["accuracy"]) == -1
    assert direction("completion_length", lower=["test/completion_length"], task="test") == -1


@pytest.fixture
def sheet(make_run, event):
    """`sheet(eps=[...], ucb=[...])`: of runs of seeds 0, 1, ... with these last scores."""

    def make(baseline=None, *, metric="accuracy", lower=(), **values):
        runs = [
            make_run(event.score(0, 0.99, metric), event.score(3, value, metric), seed=s, method=m)
            for m, scores in values.items()
            for s, value in enumerate(scores)
        ]
        return comparison_of(runs, baseline=baseline, lower=lower).sheet

    return make


def entries(sheet):
    (row,) = sheet.rows.values()
    return dict(zip(sheet.columns, row, strict=True))


def test_the_best_arm_is_marked_and_the_start_takes_no_part(sheet):
    found = entries(sheet(eps=[0.5, 0.6], ucb=[0.7, 0.8]))
    assert [found[name].is_best for name in ("start", "eps", "ucb")] == [False, False, True]


def test_arms_that_print_alike_are_both_the_best(sheet):
    found = entries(sheet(eps=[0.50001, 0.6], ucb=[0.5, 0.6]))
    assert found["eps"].is_best
    assert found["ucb"].is_best


def test_a_metric_without_a_direction_has_no_best(sheet):
    found = entries(sheet(eps=[5.0], ucb=[7.0], metric="epistemic_words"))
    assert not any(entry.is_best for entry in found.values())
    found = entries(sheet(eps=[5.0], ucb=[7.0], metric="words", lower=["words"]))
    assert [found[name].is_best for name in ("eps", "ucb")] == [True, False]


def test_arms_that_differ_from_the_baseline_are_marked_and_explained(sheet):
    # differences .1, .1001, .0999 of mean .1 and s = 1e-4: t = 1732, p = 3e-7
    made = sheet("eps", eps=[0.5, 0.6, 0.7], ucb=[0.6, 0.7001, 0.7999])
    found = entries(made)
    assert (found["eps"].mark, found["ucb"].mark) == ("", "**")
    assert any(
        note.startswith("* p < 0.05, ** p < 0.01: t-test against eps, paired")
        for note in made.notes
    )


def test_without_a_star_the_notes_say_so(sheet):
    made = sheet("eps", eps=[0.5, 0.6, 0.7], ucb=[0.6, 0.5, 0.8])
    assert not any(entry.mark for entry in entries(made).values())
    (note,) = (note for note in made.notes if "t-test" in note)
    assert note.startswith("no star, since no p < 0.05: t-test against eps, paired")


def test_the_baseline_stands_first(sheet):
    assert sheet("ucb", eps=[0.5, 0.6], ucb=[0.6, 0.7]).columns == ("start", "ucb", "eps")


def test_the_interval_is_named(sheet):
    notes = sheet(eps=[0.5, 0.6], ucb=[0.7]).notes
    assert "±: half the 95% t-interval over seeds, for the same problems" in notes
    assert (
        "±: half the 95% t-interval over problems, for these trained models (one seed: ucb)"
        in notes
    )


def test_a_score_that_is_not_a_number_is_named_and_never_the_best(sheet):
    made = sheet(eps=[0.5, float("nan")], ucb=[0.4, 0.3])
    assert "not finite in some run: test/accuracy of eps" in made.notes
    assert entries(made)["eps"].text == "nan"
    assert not any(entry.is_best for entry in entries(made).values())


def test_rows_are_chosen_by_metric_or_task(make_run, event):
    run = make_run(event.score(3, 0.5), event.score(3, 7.0, "length"))
    whole = compare.table(compare.arms([run]))
    assert list(whole.only(["length"]).rows) == [("test", "length")]
    assert list(whole.only(["test/accuracy"]).rows) == [("test", "accuracy")]
    assert list(whole.only([]).rows) == list(whole.rows)


def test_one_seed_has_no_mark(make_run, event):
    runs = []
    for method, items in (("eps", [0.1, 0.2, 0.3]), ("ucb", [0.5, 0.6001, 0.6999])):
        score = event.score(3, 0.2)
        score["score"] |= {"items": items}
        runs.append(make_run(score, method=method))
    found = comparison_of(runs, baseline="eps")
    assert found.against[0].p_holm < 0.01
    assert not any(entry.mark for entry in entries(found.sheet).values())
    assert found.sheet.notes[-1].startswith("no star where there is one seed in common")


def test_the_notes_say_over_how_many_seeds_each_mean_is(sheet):
    assert sheet(eps=[0.5, 0.6], ucb=[0.7, 0.8]).notes[0] == "mean over 2 seeds"
    assert sheet(eps=[0.5]).notes[0] == "mean over 1 seed"
    notes = sheet(eps=[0.5, 0.6, 0.7], ucb=[0.7]).notes
    assert notes[0] == "mean over 3 seeds (eps); 1 seed (ucb)"
