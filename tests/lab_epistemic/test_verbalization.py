"""The verbalization evaluator: counts by hand, files, the shipped model's own completions."""

import json

import pytest
from lab_epistemic.verbalization import VerbalizationEvaluator, breakdown, per_thousand
from lab_epistemic.verbalization_config import VerbalizationConfig
from lab_epistemic.verbalization_page import marked, page
from lab_llm.evaluator import AccuracyEvaluator, Graded
from lab_llm.evaluator_config import AccuracyConfig
from lab_llm.policy import load_policy
from lab_llm.policy_config import PolicyConfig
from lab_llm.problems import Problem
from lab_llm.verbalization import epistemic_count
from labrun import LabError
from labrun.config import compose
from labrun.context import RunContext
from labrun.parts import build
from labrun.run_dir import RunDir


@pytest.fixture(scope="module")
def policy():
    return load_policy(PolicyConfig())


@pytest.fixture(scope="module")
def sets():
    return build(compose(["plugin=rlrt", "dataset.eval_size=3"])).dataset.load(None)


@pytest.fixture
def ctx(tmp_path) -> RunContext:
    return RunContext(
        run=RunDir(tmp_path), seed=0, attempt=1, devices=(), resume_from=None, keep_checkpoints=1
    )


def stored(tmp_path, *lines, name="mine.jsonl"):
    path = tmp_path / name
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return str(path)


LINES = (
    {"id": "a", "completion": "maybe 1", "tokens": 10, "correct": 1.0},
    {"id": "a", "completion": "unlikely, maybe maybe", "tokens": 30, "correct": 0.0},
    {"id": "b", "completion": "yes <b>", "tokens": 60, "correct": 1.0},
)


def scores_of(ctx, policy, sets, **config):
    evaluator = VerbalizationEvaluator(VerbalizationConfig(**config))
    evaluator.preflight()
    return {(s.task, s.metric): s for s in evaluator.evaluate(ctx, policy, sets)}


def test_stored_completions_are_scored_by_problem(ctx, policy, sets, tmp_path):
    found = scores_of(ctx, policy, sets, completions=stored(tmp_path, *LINES))
    expected = {
        "accuracy": [0.5, 1.0],
        "completion_length": [20, 60],
        "epistemic_words": [1.5, 0],  # (1 + 2) / 2
        "epistemic_count": [2, 0],  # "unlikely" counts
        "epistemic_words_per_1k": [75, 0],  # 3 words in 40 tokens
        "epistemic_count_per_1k": [100, 0],
    }
    assert {m: list(s.items) for (_, m), s in found.items()} == expected
    assert {task for task, _ in found} == {"mine"}
    assert found["mine", "accuracy"].value == 0.75
    assert found["mine", "epistemic_words_per_1k"].value == 30  # 3 words in all 100 tokens
    assert found["mine", "epistemic_count_per_1k"].value == 40


def test_each_word_has_its_totals_in_the_run(ctx, policy, sets, tmp_path):
    how = {"completions": stored(tmp_path, *LINES), "words": ("likely", "maybe")}
    scores_of(ctx, policy, sets, **how)
    assert json.loads((tmp_path / "artifacts" / "verbalization.json").read_text()) == {
        "mine": {
            "responses": 3,
            "tokens": 100,
            "published": {"likely": 1, "maybe": 3},
            "whole_words": {"likely": 0, "maybe": 3},
        }
    }
    assert (tmp_path / "artifacts" / "verbalization.png").stat().st_size > 0


def test_completions_without_tokens_and_marks_have_a_length_and_no_accuracy(
    ctx, policy, sets, tmp_path
):
    text = "5+1=6 no maybe"
    found = scores_of(ctx, policy, sets, completions=stored(tmp_path, {"completion": text}))
    assert ("mine", "accuracy") not in found
    tokens = len(policy.tokenizer(text, add_special_tokens=False)["input_ids"])
    assert found["mine", "completion_length"].value == tokens


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "mine.jsonl is empty"),
        ('{"completion": "a"}\n{"completion": 3}\n', "mine.jsonl line 2 has no text under"),
        ('{"completion": "a"}\n\n[1]\n', "mine.jsonl line 3 has no text under"),
        ("no json\n", "mine.jsonl line 1 is no JSON"),
        (None, "no such file; name a .jsonl file"),
    ],
)
def test_bad_files_are_refused_by_name_and_line(tmp_path, text, message):
    path = tmp_path / "mine.jsonl"
    if text is not None:
        path.write_text(text)
    evaluator = VerbalizationEvaluator(VerbalizationConfig(completions=str(path)))
    with pytest.raises(LabError, match=r"verbalization\.completions") as error:
        evaluator.preflight()
    assert message in str(error.value)


def test_two_files_of_one_name_are_refused(tmp_path):
    (tmp_path / "other").mkdir()
    both = (stored(tmp_path, *LINES), stored(tmp_path / "other", *LINES))
    with pytest.raises(LabError, match="more than one file is called"):
        VerbalizationEvaluator(VerbalizationConfig(completions=both)).preflight()


def test_it_scores_what_accuracy_scores_on_any_run_and_leaves_its_files_alone(ctx, policy, sets):
    how = {"num_samples": 2, "max_new_tokens": 40}
    plain = AccuracyEvaluator(AccuracyConfig(**how)).evaluate(ctx, policy, sets)
    files = sorted((ctx.run_dir / "artifacts").rglob("*.*"))
    before = {file: file.read_bytes() for file in files}
    mine = VerbalizationEvaluator(VerbalizationConfig(**how)).evaluate(ctx, policy, sets)
    by_name = {(s.task, s.metric): s for s in mine}
    assert [by_name[s.task, s.metric] for s in plain] == plain
    assert {file: file.read_bytes() for file in files} == before
    lines = (ctx.run_dir / "artifacts/verbalization/completions/in_domain.jsonl").read_text()
    own = [json.loads(line) for line in lines.splitlines()]
    words = sum(epistemic_count(line["completion"]) for line in own)
    per_1k = 1000 * words / sum(line["tokens"] for line in own)
    assert by_name["in_domain", "epistemic_count_per_1k"].value == pytest.approx(per_1k)
    shown = (ctx.run_dir / "artifacts/verbalization.html").read_text()
    assert shown.count("<article>") == sum(len(found) * 2 for found in sets.evaluation.values())


def test_its_own_words_are_counted(ctx, policy, sets):
    found = scores_of(ctx, policy, sets, words=("yes",), max_new_tokens=40)
    texts = [
        json.loads(line)["completion"]
        for line in (ctx.run_dir / "artifacts/verbalization/completions/in_domain.jsonl")
        .read_text()
        .splitlines()
    ]
    counts = [text.count("yes") for text in texts]
    assert sum(counts) > 0
    assert list(found["in_domain", "epistemic_count"].items) == counts


def test_words_of_no_tokens_are_none():
    assert per_thousand(0, 0) == 0.0
    assert per_thousand(3, 1500) == 2.0


def graded(*texts, rewards=()):
    problem = Problem("<i>", ({"role": "user", "content": "1 < 2?"},), "")
    return Graded(problem, texts, [1] * len(texts), rewards)


def test_the_breakdown_is_over_all_samples_of_all_problems():
    found = breakdown([graded("wait", "waiting"), graded("hmm wait")], ("wait", "hmm"))
    assert found == {
        "responses": 3,
        "tokens": 3,
        "published": {"wait": 3, "hmm": 1},
        "whole_words": {"wait": 2, "hmm": 1},
    }


def test_words_are_marked_and_all_text_is_escaped():
    assert marked("<b> Maybe & wait", ("maybe",)) == "&lt;b&gt; <mark>Maybe</mark> &amp; wait"
    of_set = {"<set>": [graded("maybe <script>", "no", rewards=(1.0, 0.0))]}
    shown = page(of_set, words=("maybe", "<w>"), num_shown=5, title="<t>")
    assert "<script" not in shown
    for escaped in ("&lt;set&gt;", "&lt;t&gt;", "&lt;i&gt;", "1 &lt; 2?", "&lt;w&gt;"):
        assert escaped in shown
    badges = [word for word in ("correct", "wrong") if f'badge {word}">{word}' in shown]
    assert badges == ["correct", "wrong"]
    assert page(of_set, words=("maybe",), num_shown=1, title="").count("<article>") == 1
