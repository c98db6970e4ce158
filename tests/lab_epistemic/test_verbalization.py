"""The verbalization evaluator: counts by hand, files, the shipped model's own completions."""

import json
import re

import pytest
from lab_epistemic.verbalization import stored_completions
from lab_epistemic.verbalization.breakdown import Breakdown, breakdown, per_thousand
from lab_epistemic.verbalization.config import VerbalizationConfig
from lab_epistemic.verbalization.evaluator import VerbalizationEvaluator
from lab_epistemic.verbalization.figure import draw
from lab_epistemic.verbalization.page import marked, page
from lab_epistemic.verbalization.samples import samples_of
from lab_llm.evaluation.accuracy import AccuracyEvaluator, Graded
from lab_llm.evaluation.config import AccuracyConfig
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.policy import load_policy
from lab_llm.policy.tokenizer_files import load_tokenizer
from lab_llm.problems import Problem, ProblemSets
from lab_llm.text.epistemic_words import epistemic_count
from labrun import LabError, Setup
from labrun.config.components import build
from labrun.config.experiments import compose
from labrun.experiment import ResourcesConfig
from labrun.runs import run_dir
from labrun.runs.context import RunContext
from labrun.runs.run_dir import RunDir
from tokenizers.processors import TemplateProcessing


@pytest.fixture(scope="module")
def policy():
    return load_policy(PolicyConfig())


@pytest.fixture(scope="module")
def sets():
    return build(compose(["plugin=rlrt", "dataset.eval_size=3"])).dataset.sets


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
    evaluator.plan(Setup())
    return {(s.task, s.metric): s for s in evaluator.evaluate(ctx, policy, sets)}


def test_stored_completions_are_scored_by_problem(ctx, policy, sets, tmp_path):
    how = {"completions": stored(tmp_path, *LINES), "words": ("likely", "maybe")}
    found = scores_of(ctx, policy, sets, **how)
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
    assert {s.n for s in found.values()} == {2}
    assert not (tmp_path / "events.jsonl").exists()  # nothing to note


def test_each_word_has_its_totals_in_the_run(ctx, policy, sets, tmp_path):
    how = {"completions": stored(tmp_path, *LINES), "words": ("likely", "maybe")}
    scores_of(ctx, policy, sets, **how)
    assert json.loads((tmp_path / "artifacts" / "verbalization.json").read_text()) == {
        "mine": {
            "problems": 2,
            "responses": 3,
            "tokens": 100,
            "epistemic_words": 3,
            "epistemic_count": 4,
            "whole_words": {"likely": 0, "maybe": 3},
            "published": {"likely": 1, "maybe": 3},
        }
    }
    assert (tmp_path / "artifacts" / "verbalization.png").stat().st_size > 0
    page_written = (tmp_path / "artifacts" / "verbalization.html").read_text()
    assert f"<p>{ctx.run_id}</p>" in page_written


def test_completions_without_tokens_and_marks_have_a_length_and_no_accuracy(
    ctx, policy, sets, tmp_path
):
    text = "5+1=6 no maybe"
    lines = ({"completion": text}, {"completion": "", "tokens": 7, "correct": 1.0})
    how = {"completions": stored(tmp_path, *lines), "pass_k": (1, 2)}
    found = scores_of(ctx, policy, sets, **how)
    assert {m for _, m in found} & {"accuracy", "pass@1", "pass@2"} == set()
    tokens = len(policy.tokenizer(text, add_special_tokens=False)["input_ids"])
    assert list(found["mine", "completion_length"].items) == [tokens, 7]
    events = (tmp_path / "events.jsonl").read_text().splitlines()
    notes = [json.loads(event)["message"] for event in events]
    assert notes == [
        "verbalization: mine.jsonl: 1 of 2 completions have no `tokens`; their length is by this "
        "run's tokenizer",
        "verbalization: mine.jsonl: 1 of 2 completions have no `correct`; its accuracy is left out",
    ]


def test_pass_at_k_of_stored_completions_is_of_as_many_as_each_problem_has(
    ctx, policy, sets, tmp_path
):
    lines = [{"id": "a", "completion": "", "correct": c} for c in (1, 0, 0)]
    lines += [{"id": "b", "completion": "", "correct": c} for c in (0, 1)]
    path = stored(tmp_path, *lines)
    found = scores_of(ctx, policy, sets, completions=path, pass_k=(2,))
    assert found["mine", "pass@2"].items == pytest.approx([2 / 3, 1])  # 1 - C(2, 2) / C(3, 2)
    evaluator = VerbalizationEvaluator(VerbalizationConfig(completions=path, pass_k=(3,)))
    with pytest.raises(LabError, match=r"pass_k=\[3\] needs 3 .*mine.jsonl has 2 of 'b'"):
        evaluator.plan(Setup())


def test_text_of_another_origin_is_kept_to_its_line_and_written(ctx, policy, sets, tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"completion": "wait\u2028hmm\x85"}\n{"completion": "maybe \\ud83d"}\r\n')
    found = scores_of(ctx, policy, sets, completions=str(path))
    assert list(found["mine", "epistemic_words"].items) == [2, 1]
    assert "<mark>maybe</mark> ?" in (tmp_path / "artifacts/verbalization.html").read_text()


def test_stored_completions_need_no_engine_and_no_room_in_the_model(policy, sets, tmp_path):
    path = stored(tmp_path, *LINES)
    config = VerbalizationConfig(
        completions=path, max_new_tokens=10**6, temperature=0.0, num_samples=2
    )
    evaluator = VerbalizationEvaluator(config)
    assert evaluator.plan(Setup()).facts == {"completions": {"mine": 3}}
    evaluator.plan(Setup(model=policy, data=sets))
    sampled = VerbalizationEvaluator(VerbalizationConfig(max_new_tokens=10**6))
    with pytest.raises(LabError, match=r"evaluator\.verbalization\.max_new_tokens=1000000"):
        sampled.plan(Setup(model=policy, data=sets))
    assert sampled.plan(Setup()).facts["metric"] == "avg@1"


def test_a_glob_and_a_directory_name_their_files(tmp_path):
    stored(tmp_path, *LINES)
    stored(tmp_path, LINES[0], name="other.jsonl")
    stored(tmp_path, {"kind": "attempt"}, name="events.jsonl")

    def named(*what):
        evaluator = VerbalizationEvaluator(VerbalizationConfig(completions=what))
        return evaluator.plan(Setup()).facts["completions"]

    assert named(str(tmp_path)) == {"mine": 3, "other": 1}
    assert named(str(tmp_path / "[mo]*.jsonl"), str(tmp_path / "mine.jsonl")) == {
        "mine": 3,
        "other": 1,
    }
    for folder, count in (("verbalization/completions", 2), ("completions", 1)):
        (tmp_path / "artifacts" / folder).mkdir(parents=True)
        stored(tmp_path / "artifacts" / folder, *LINES[:count], name="in_domain.jsonl")
        assert named(str(tmp_path)) == {"in_domain": count}  # a run with both has those of accuracy
    assert named(str(tmp_path.parent / f"{tmp_path.name}*")) == {"in_domain": 1}
    with pytest.raises(LabError, match="no such file"):
        named("")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "mine.jsonl is empty"),
        ('{"completion": "a"}\n{"completion": 3}\n', "mine.jsonl line 2 has no text under"),
        ('{"completion": "a"}\n\n[1]\n', "mine.jsonl line 3 is no JSON object"),
        ('{"text": "a", "n": 1}\n', "line 1 has no text under `completion`; its keys: text, n"),
        ('{"completion": "a", "tokens": 1.5}\n', "line 1: tokens=1.5; it must be a count"),
        ('{"completion": "a", "tokens": -1}\n', "line 1: tokens=-1; it must be a count"),
        ('{"completion": "a", "correct": "yes"}\n', "line 1: correct='yes'; it must be 0 to 1"),
        ('{"completion": "a", "correct": NaN}\n', "line 1: correct=nan; it must be 0 to 1"),
        ('{"completion": "a", "correct": 2}\n', "line 1: correct=2; it must be 0 to 1"),
        (b"\xff\n", "mine.jsonl cannot be read as text"),
        ("no json\n", "mine.jsonl line 1 is no JSON"),
        (None, "no such file; name a .jsonl file"),
    ],
)
def test_bad_files_are_refused_by_name_and_line(tmp_path, text, message):
    path = tmp_path / "mine.jsonl"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    evaluator = VerbalizationEvaluator(VerbalizationConfig(completions=str(path)))
    with pytest.raises(LabError, match=r"verbalization\.completions") as error:
        evaluator.plan(Setup())
    assert message in str(error.value)


def test_two_files_of_one_name_are_refused(tmp_path):
    (tmp_path / "other").mkdir()
    both = (stored(tmp_path, *LINES), stored(tmp_path / "other", *LINES))
    with pytest.raises(LabError, match="more than one file is called"):
        VerbalizationEvaluator(VerbalizationConfig(completions=both)).plan(Setup())


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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("[wait,' ']", "' ' is blank"),
        ("[wait,so,Wait]", "'wait' is there twice"),
        ("[]", "at least 1"),
        ("['']", "'' is blank"),
    ],
)
@pytest.mark.parametrize(
    "choice",
    [
        ("evaluator.verbalization", "method=sdpo"),
        ("evaluator.richness", "study=richness"),
        ("trainer", "method=sdpo"),
        ("trainer", "method=sft_guided"),
    ],
)
def test_words_that_cannot_be_counted_are_refused(choice, words, message):
    section, preset = choice
    with pytest.raises(LabError) as caught:
        compose(["plugin=epistemic", preset, f"{section}.words={words}"])
    assert str(caught.value).startswith(f"{section}.words=")
    assert message in str(caught.value)


def test_accuracy_beside_verbalization_would_hide_its_scores():
    parts = build(compose(["plugin=rlrt", "evaluator=[accuracy,epistemic.verbalization]"]))
    with pytest.raises(LabError, match="evaluators accuracy and verbalization give scores of the"):
        parts.plan(ResourcesConfig())


@pytest.mark.parametrize(
    "name",
    [
        "epistemic.verbalization",
        "epistemic.richness",
        "llm.accuracy",
        "rlrt.asymmetry",
        "rlrt.reflection",
        "rlrt.promotion",
    ],
)
def test_episodes_are_no_problems_that_could_be_scored(name):
    parts = build(compose(["plugin=stairs", f"evaluator={name}"]))
    (evaluator,) = parts.evaluators.values()
    with pytest.raises(LabError, match="and OfflineDataset loads OfflineData"):
        evaluator.plan(Setup(dataset=parts.dataset))


def test_lines_without_an_id_are_problems_of_their_own(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"completion": "a", "id": null}\n{"completion": "b"}\n')
    tokenizer = load_policy(PolicyConfig()).tokenizer
    found, _ = stored_completions.graded(str(path), tokenizer)
    assert [one.problem.id for one in found["mine"]] == ["line 1", "line 2"]


def test_a_completion_has_no_beginning_of_text(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"completion": "5+2=7"}\n')
    tokenizer = load_tokenizer(PolicyConfig())
    begin = tokenizer.convert_tokens_to_ids("<|im_start|>")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", begin)]
    )
    assert len(tokenizer.encode("5+2=7")) == 6
    found, _ = stored_completions.graded(str(path), tokenizer)
    assert found["mine"][0].lengths == [5]


def test_words_of_no_tokens_are_none():
    assert per_thousand(0, 0) == 0.0
    assert per_thousand(3, 1500) == 2.0


def graded(*texts, rewards=()):
    problem = Problem("<i>", ({"role": "user", "content": "1 < 2?"},), "")
    return Graded(problem, texts, [1] * len(texts), rewards)


def test_the_breakdown_is_over_all_samples_of_all_problems():
    found = breakdown([graded("wait", "waiting"), graded("hmm wait")], ("wait", "hmm"))
    assert found == Breakdown(
        problems=2,
        responses=3,
        tokens=3,
        epistemic_words=3,
        epistemic_count=4,
        whole_words={"wait": 2, "hmm": 1},
        published={"wait": 3, "hmm": 1},
    )


def test_whole_words_are_marked_and_parts_of_longer_ones_underlined():
    assert marked("<b> Maybe & wait", ("maybe",)) == "&lt;b&gt; <mark>Maybe</mark> &amp; wait"
    part = '<mark class="part">'
    assert marked("Unlikely! Wait, <waiting>", ("wait", "likely")) == (
        f"Un{part}likely</mark>! <mark>Wait</mark>, &lt;{part}wait</mark>ing&gt;"
    )
    # the whole word "d" and not the "c d" inside "bc d"; of "so" and "some" the longer
    assert marked("bc d", ("c d", "d")) == "bc <mark>d</mark>"
    assert marked("awesome", ("so", "some")) == f"awe{part}some</mark>"


def shown_page(of_set, **how):
    found = {name: breakdown(problems, how["words"]) for name, problems in of_set.items()}
    return page(of_set, found, **{"num_shown": 5, "title": "t", **how})


def test_all_text_of_the_page_is_escaped():
    of_set = {"<set>": [graded("maybe <script>", "no", rewards=(1.0, 0.0))]}
    shown = shown_page(of_set, words=("maybe", "<w>"), title="<t>")
    assert "<script" not in shown
    for escaped in ("&lt;set&gt;", "&lt;t&gt;", "&lt;i&gt;", "1 &lt; 2?", "&lt;w&gt;"):
        assert escaped in shown
    assert re.findall(r"(?:src|href|url|@import|https?:)", shown) == []
    for tag in ("html", "head", "body", "header", "section", "article", "h2", "p", "mark"):
        assert len(re.findall(rf"<{tag}[ >]", shown)) == shown.count(f"</{tag}>"), tag


def test_the_page_sums_up_each_set_and_each_response():
    of_set = {"s": [graded("maybe so", "waiting, wait", rewards=(1.0, 0.0)), graded("a", "b")]}
    shown = shown_page(of_set, words=("maybe", "wait"))
    assert (
        "4 responses to 2 problems, 1.0 tokens each. 0.50 words a response as whole words, 0.75 as "
        "published. Shown: 4."
    ) in shown  # maybe, wait / 4; one more in "waiting"; no accuracy, as one problem is not graded
    facts = re.findall(r"<small>(.*)</small>", shown)
    assert facts[0] == "response 1 of 2, 1 token, 1 whole word, 1 as published"
    assert facts[2] == "response 2 of 2, 1 token, 1 whole word, 2 as published"
    assert re.findall(r'badge (\w+)">', shown) == ["correct", "wrong"]
    known = {"s": [graded("wait", rewards=(1.0,)), graded("a", "b", rewards=(0.5, 0.0))]}
    assert "3 responses to 2 problems, accuracy 0.625, " in shown_page(known, words=("wait",))


def test_every_problem_is_shown_once_before_one_is_shown_again():
    of_set = {"s": [graded("a1", "a2", "a3"), graded("b1"), graded("c1", "c2")]}
    shown = shown_page(of_set, words=("wait",), num_shown=4)
    assert re.findall(r'class="text">(..)<', shown) == ["a1", "b1", "c1", "a2"]
    assert "Shown: 4." in shown
    assert "<small>1 token, 0 whole words" in shown  # no "response 1 of 1"


def test_the_figure_has_a_bar_of_each_word_a_response_for_each_set():
    found = {
        "_a$b$": breakdown([graded("wait wait", "hmm", "", "waiting")], ("wait", "hmm")),
        "other": breakdown([graded("hmm")], ("wait", "hmm")),
    }
    figure = draw(found)
    (axis,) = figure.axes
    heights = [[bar.get_height() for bar in bars] for bars in axis.containers]
    assert heights == [[0.75, 0.25], [0.0, 1.0]]
    centres = [[bar.get_x() + bar.get_width() / 2 for bar in bars] for bars in axis.containers]
    assert centres == [pytest.approx([-0.2, 0.8]), pytest.approx([0.2, 1.2])]
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["wait", "hmm"]
    legend = axis.get_legend()
    assert legend is not None
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["_a$b$ (4 responses)", "other (1 response)"]
    assert axis.get_ylabel() == "epistemic_count per response"


def test_a_run_without_evaluation_sets_has_no_files(ctx, policy, sets):
    none = ProblemSets(train=sets.train, evaluation={}, verify=sets.verify)
    assert scores_of(ctx, policy, none) == {}
    assert not (ctx.run_dir / "artifacts/verbalization.html").exists()


@pytest.mark.parametrize(
    "words", ["plugin=epistemic method=sdpo", "plugin=epistemic method=sft_guided", "plugin=rlrt"]
)
def test_a_language_models_trainer_takes_no_episodes(words):
    parts = build(compose([*words.split(), "dataset=stairs.offline"]))
    with pytest.raises(
        LabError, match=r"trainer works on problems .* OfflineDataset loads OfflineData"
    ):
        parts.trainer.plan(Setup(dataset=parts.dataset))


def test_a_report_marks_the_words_of_the_run(tmp_path):
    words = "evaluator.verbalization.words=[hold]"
    run = run_dir.create(compose(["plugin=epistemic", words]), root=tmp_path)
    folder = run.artifacts / "verbalization" / "completions"
    folder.mkdir(parents=True)
    (folder / "in_domain.jsonl").write_text('{"id": "p1", "completion": "wait, hold on"}\n')
    found = samples_of(run, "evaluator.verbalization")
    assert found.meaning == "epistemic words: hold"
    assert [sample.marked for sample in found.samples] == [[(6, 10)]]
