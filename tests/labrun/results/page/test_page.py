"""The whole page by value: what it shows, what it counts, and that it does nothing."""

import re

import pytest
from labrun.errors import LabError
from labrun.results.page import question
from labrun.results.page.contents import Section, Wanted
from labrun.results.page.question import parted

HOSTILE = (
    "<script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    "</title></textarea><svg onload=alert(1)>",
    '"><a href="javascript:alert(1)">x</a>',
    "data:text/html,<script>alert(1)</script>",
    "{{ 7 * 7 }}{% raw %}",
    "--><iframe src=//evil.example>",
)


def test_the_table_has_the_means_and_names_their_interval(language_run, event, report):
    runs = [
        language_run(event.score(3, value), method=method, seed=seed)
        for method, values in {"grpo": (0.2, 0.4), "rlrt": (0.5, 0.7)}.items()
        for seed, value in enumerate(values)
    ]
    page = report(runs)
    # two seeds: half width 12.7062 * 0.1
    assert ["test", "accuracy", "0.300 ± 1.271", "0.600 ± 1.271"] in page.rows
    assert "±: half the 95% t-interval over seeds, for the same problems" in page.words("scores")
    assert "Fewer than 5 seeds" in page.words("")
    assert "optimizer steps3" in page.words("")
    assert "what each metric is: docs/metrics.md in the code of labrun" in page.words("scores")
    longer = report([*runs, language_run(event.score(80, 0.2), method="dapo", seed=0)])
    assert "optimizer steps3 to 80" in longer.words("")


def test_against_a_baseline_there_are_differences_with_their_p(language_run, event, report):
    runs = [
        language_run(event.score(3, value), method=method, seed=seed)
        for method, values in {"grpo": (0.1, 0.5, 0.9), "rlrt": (0.2, 0.7, 1.2)}.items()
        for seed, value in enumerate(values)
    ]
    page = report(runs, baseline="grpo")
    # 0.1, 0.2, 0.3: mean 0.2, half width 4.3027 * 0.1 / sqrt(3)
    wanted = ["test", "accuracy", "rlrt", "0.200 ± 0.248", "3 seeds", "0.074", "0.074", "0.250"]
    assert wanted in page.rows
    assert "0 of 1 differences have p < 0.05" in page.words("scores")


def test_a_mean_over_tasks_is_not_counted_as_one(language_run, event, report):
    scores = [event.score(3, 0.5, task=task) for task in ("easy", "hard")]
    page = report([language_run(*scores, event.score(3, 0.5, task="seen", over=["easy", "hard"]))])
    assert "2 taskseasy and hard" in page.words("")
    assert "seen" in {row[0] for row in page.rows}


def test_one_seed_has_an_interval_over_problems(language_run, event, report):
    score = event.score(3, 0.5)
    score["score"]["items"] = [0.0, 1.0, 0.0, 1.0]
    page = report([language_run(score)])
    # s = 0.57735, half width 3.1824 * s / 2
    assert ["test", "accuracy", "0.500 ± 0.919"] in page.rows
    assert "over problems, for these trained models" in page.words("scores")
    assert "How well does grpo do?" in page.words("")


def test_hostile_text_is_text_everywhere(language_run, event, said, report):
    evil = " ".join(HOSTILE)
    score = event.score(3, 0.5, metric=evil)
    score["score"]["task"] = evil
    run = language_run(
        *(event.metrics(step, **{evil: 1.0}) for step in (1, 2)),
        score,
        completions={"in_domain": [said(evil, of=evil, prompt=evil, gold=evil)]},
        method=evil,
        settings={"note": evil},
    )
    failed = language_run(state="failed", message=evil, method="other")
    page = report(
        [run, failed],
        question=evil,
        title=evil,
        sections=[Section(evil, [evil], [evil], [[evil]])],
        wanted=Wanted(metrics=[evil]),
    )
    assert page.open == []
    assert not {"script", "iframe", "a href", "object", "form", "base", "link"} & set(page.tags)
    for _, name, value in page.attributes:
        assert not name.startswith("on"), name
        if name in ("href", "src", "action", "xlink:href"):
            assert value.startswith(("#", "data:image/png;base64,")), value
    for section in ("", "part-1", "scores", "samples", "runs"):
        for text in HOSTILE:
            assert " ".join(text.split()) in page.words(section)


def test_the_page_names_no_address_and_forbids_all_requests(language_run, event, report):
    runs = [
        language_run(*(event.score(step, 0.5) for step in (0, 3)), seed=seed) for seed in (0, 1)
    ]
    page = report(runs)
    assert not re.search(r"https?:|//[a-z]", report.path.read_text())
    policies = [value for tag, name, value in page.attributes if "default-src" in value]
    assert policies == [
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
        "form-action 'none'"
    ]
    assert page.tags["svg"] == 2  # the curve over two steps, and the last scores


def test_runs_that_do_not_count_are_counted_and_named(language_run, event, report):
    done = [language_run(event.score(3, 0.5), seed=seed) for seed in (0, 1)]
    failed = language_run(event.metrics(2, reward=1.0), seed=2, state="failed", message="no memory")
    damaged = language_run(event.score(3, 0.5), seed=3)
    spec = damaged.path / "spec.json"
    spec.write_text(spec.read_text().replace("grpo", "rlrt"))
    page = report([*done, failed, damaged])
    assert "Not all runs count. 4 runs: 3 done, 1 failed; 2 of them are left out" in page.words("")
    assert "grpo: failed; no memory" in page.words("runs")
    assert f"damaged: {spec} was edited" in page.words("runs")
    assert ["left out: grpo: failed; no memory"] in page.rows
    assert "1 run with a damaged spec: not known" in page.words("again")


def test_arms_that_share_no_task_have_a_table_and_no_pairs(language_run, event, said, report):
    one, other = event.score(3, 0.5), event.score(3, 0.25)
    other["score"]["task"] = "elsewhere"
    runs = [
        language_run(one, method="grpo", completions={"test": [said("a", of="p1")]}),
        language_run(other, method="rlrt", completions={"elsewhere": [said("b", of="p2")]}),
    ]
    page = report(runs)
    cells = {tuple(row) for row in page.rows}
    assert ("test", "accuracy", "0.500 ± 0.000", "-") in cells
    assert ("elsewhere", "accuracy", "-", "0.250 ± 0.000") in cells
    assert "no problem was asked of two of these arms" in page.words("samples")


def test_runs_without_completions_say_so_and_agents_have_no_samples(
    language_run, make_run, event, report
):
    page = report([language_run(event.score(3, 0.5))])
    assert page.words("samples") == "Samples these runs have kept no completions"
    other = report([make_run(event.score(3, 0.5))])
    assert "samples" not in other.text
    assert "plugin toy is not installed here: its figures" in other.words("")


def test_many_arms_stand_below_each_other(language_run, event, report):
    runs = [language_run(event.score(3, n / 10), method=f"m{n}") for n in range(7)]
    rows = report(runs).rows
    assert ["task", "metric", "arm", "score"] in rows
    assert ["m6", "0.600 ± 0.000"] in rows


def test_a_section_of_a_caller_stands_before_the_scores(language_run, event, report):
    section = Section("Published", ["Table 1"], ["arm", "ours"], [["grpo", "0.5"]])
    page = report([language_run(event.score(3, 0.5))], sections=[section])
    assert list(page.text)[:3] == ["", "part-1", "scores"]
    assert ("a", "href", "#part-1") in page.attributes
    assert ["grpo", "0.5"] in page.rows


def test_the_question_is_asked_or_the_runs_own_or_what_they_vary(language_run, event, report):
    runs = [language_run(event.score(3, 0.5), method=method) for method in ("grpo", "rlrt")]
    asks = "What difference does method make: grpo or rlrt?"
    assert asks in report(runs).words("")
    for run in runs:
        (run.path / "notes.json").write_text('{"note": "Does the teacher help?"}')
    assert "Does the teacher help?" in report(runs).words("")
    assert "And now?" in report(runs, question="And now?").words("")


def test_a_long_question_is_a_heading_and_a_paragraph():
    assert parted("Why?\n\nBecause.") == ("Why?", "Because.")
    assert parted("word " * 40) == (("word " * 32).strip() + " …", "… " + ("word " * 8).strip())
    assert parted("a" * 200) == ("a" * 160 + " …", "… " + "a" * 40)


def test_settings_that_differ_stand_in_a_row_a_key(language_run, event, report):
    runs = [
        language_run(event.score(3, 0.5), settings={"beta": beta}, overrides=[f"beta={beta}"])
        for beta in (0.0, 0.1)
    ]
    assert ["trainer.beta", "0.0", "0.1"] in report(runs).rows


def test_a_file_that_cannot_be_written_is_one_line(language_run, event, tmp_path, report):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(LabError, match=r"report\.html is a folder; name a file"):
        report([language_run(event.score(3, 0.5))])


def test_nothing_done_is_refused(language_run, report):
    with pytest.raises(LabError, match="none of these runs is done"):
        report([language_run(state="failed")])


def test_long_labels_of_arms_give_way_to_their_methods_where_these_differ():
    swept = ["grpo learning_rate=0.0005", "rlrt learning_rate=0.0001"]
    assert question._names(swept) == ["grpo", "rlrt"]
    assert question._names(["grpo", "rlrt lam=0.5"]) == ["grpo", "rlrt lam=0.5"]
    same = ["grpo learning_rate=0.0005", "grpo learning_rate=0.0001"]
    assert question._names(same) == ["grpo learni…rate=0.0005", "grpo learni…rate=0.0001"]
