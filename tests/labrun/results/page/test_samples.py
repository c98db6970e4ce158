from labrun.results.arms import arms
from labrun.results.page.samples import MOST_CHARACTERS, pieces, side_by_side


def shown(runs, *, baseline=None, most=12):
    return side_by_side(arms(runs), baseline=baseline, most=most)


def test_the_baseline_stands_left_and_outcomes_that_differ_come_first(language_run, event, said):
    # p1: both right, p2: rlrt alone, p3: none, p4: grpo alone
    kept = {"grpo": (1, 0, 0, 1), "rlrt": (1, 1, 0, 0)}
    runs = [
        language_run(
            event.score(3, 0.5),
            method=method,
            completions={
                "in_domain": [
                    said(f"{method} {place}", of=f"p{place}", correct=float(right))
                    for place, right in enumerate(outcomes, start=1)
                ]
            },
        )
        for method, outcomes in kept.items()
    ]
    found = shown(runs, baseline="rlrt", most=3)
    assert found.arms == [(1, "rlrt, seed 0"), (0, "grpo, seed 0")]
    assert [one.problem for one in found.asked] == ["p2", "p4", "p1"]
    first = found.asked[0]
    assert (first.prompt, first.answer) == ("question p2", "18")
    assert [(a.arm, a.correct, a.pieces) for a in first.answers] == [
        (1, True, [("rlrt 2", False)]),
        (0, False, [("grpo 2", False)]),
    ]
    assert found.outcomes["in_domain"] == {
        "all right": 1,
        "only rlrt": 1,
        "only grpo": 1,
        "none right": 1,
    }
    assert found.who == ["all right", "only grpo", "only rlrt", "none right"]
    assert found.notes == [
        "3 of 4 problems that these arms have in common, the first sample of each; those on which "
        "arms differ (2) come first, in the data's order"
    ]


def test_of_three_arms_each_has_its_count(language_run, event, said):
    kept = {"a": (1, 1, 0), "b": (1, 0, 0), "c": (1, 1, 0)}
    runs = [
        language_run(
            event.score(3, 0.5),
            method=method,
            completions={
                "test": [
                    said("x", of=f"p{n}", correct=float(one)) for n, one in enumerate(outcomes)
                ]
            },
        )
        for method, outcomes in kept.items()
    ]
    wanted = {"all right": 1, "a right": 2, "b right": 1, "c right": 2, "none right": 1}
    assert shown(runs).outcomes["test"] == wanted


def test_epistemic_words_are_marked_and_said(language_run, event, said, report):
    text = "4+8=12 no wait 12+6=18, checking: maybe"
    run = language_run(event.score(3, 0.5), completions={"test": [said(text)]})
    page = report([run])
    assert page.marked == ["Marked", "wait", "maybe"]
    assert "Marked: epistemic words: wait, hmm, perhaps" in page.words("samples")
    assert text in page.words("samples")


def test_the_same_name_with_another_prompt_is_another_problem(language_run, event, said):
    runs = [
        language_run(
            event.score(3, 0.5), method=method, completions={"test": [said("a", prompt=method)]}
        )
        for method in ("grpo", "rlrt")
    ]
    found = shown(runs)
    assert [[answer.arm for answer in one.answers] for one in found.asked] == [[0], [1]]
    assert found.notes[-1].startswith("no problem was asked of two of these arms")


def test_problems_that_one_arm_alone_was_asked_are_left_out(language_run, event, said):
    first = [said("a", of="p1"), said("a", of="p2")]
    runs = [
        language_run(event.score(3, 0.5), method="grpo", completions={"test": first}),
        language_run(event.score(3, 0.5), method="rlrt", completions={"test": first[:1]}),
    ]
    found = shown(runs)
    assert [one.problem for one in found.asked] == ["p1"]
    assert found.notes[-1] == "1 problem that not all of them were asked: left out"


def test_of_several_samples_the_first_is_shown_and_all_are_counted(language_run, event, said):
    kept = [said(text, correct=right) for text, right in (("a", 0.0), ("b", 1.0), ("c", 1.0))]
    (asked,) = shown([language_run(event.score(3, 0.5), completions={"test": kept})]).asked
    (answer,) = asked.answers
    assert answer.pieces == [("a", False)]
    assert answer.facts == ["5 tokens", "2 of 3 samples right"]


def test_the_seed_is_one_that_all_arms_have(language_run, event, said):
    runs = [
        language_run(
            event.score(3, 0.5), method=m, seed=seed, completions={"test": [said(f"{m}{seed}")]}
        )
        for m, seed in (("grpo", 0), ("grpo", 1), ("rlrt", 1), ("rlrt", 2))
    ]
    assert [label for _, label in shown(runs).arms] == ["grpo, seed 1", "rlrt, seed 1"]


def test_five_arms_are_four_and_a_note(language_run, event, said):
    runs = [
        language_run(event.score(3, 0.5), method=f"m{n}", completions={"test": [said("a")]})
        for n in range(5)
    ]
    found = shown(runs)
    assert len(found.arms) == 4
    assert found.notes[0] == "the first 4 arms are shown; left out: m4"


def test_a_damaged_line_hides_no_other(language_run, event, said):
    run = language_run(event.score(3, 0.5), completions={"test": [said("a", of="p1")]})
    path = run.artifacts / "completions" / "test.jsonl"
    path.write_bytes(b'{"id": "p0"\n[1]\n\xff\xfe\n' + path.read_bytes())
    assert [one.problem for one in shown([run]).asked] == ["p1"]


def test_a_plugins_function_that_fails_is_named(language_run, event, said):
    run = language_run(event.score(3, 0.5), completions={"test": [said("a")]})
    path = run.artifacts / "completions" / "test.jsonl"
    path.unlink()
    path.mkdir()
    found = shown([run])
    assert found.asked == []
    assert found.notes[0].startswith(f"completions of {run.id} were not read: ")


def test_an_arm_that_cannot_be_read_hides_no_other(language_run, event, said):
    runs = [
        language_run(event.score(3, 0.5), method=m, completions={"test": [said(m)]})
        for m in ("grpo", "rlrt")
    ]
    (runs[0].artifacts / "completions" / "zero.jsonl").mkdir()
    found = shown(runs)
    assert [label for _, label in found.arms] == ["rlrt, seed 0"]
    assert [[a.pieces for a in one.answers] for one in found.asked] == [[[("rlrt", False)]]]
    assert found.notes[0].startswith(f"completions of {runs[0].id} were not read: ")


def test_a_long_completion_is_cut_and_says_how_long_it_was():
    text = "a" * (MOST_CHARACTERS + 1)
    assert pieces(text, [])[0][0] == "a" * MOST_CHARACTERS + " … (4,001 characters)"


def test_what_a_page_cannot_hold_is_shown_as_a_sign():
    assert pieces("a\x00\x1b[31m\udc80\u202eb", []) == [("a␀␛[31m�\ufffdb", False)]


def test_marks_outside_of_the_text_mark_nothing():
    assert pieces("wait", [(2, 99), (3, 1), (-4, 2)]) == [("wait", False)]
