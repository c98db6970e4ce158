"""The accuracy evaluator on random models: counts, streams of randomness, files."""

import dataclasses
import json
import math

import pytest
import torch
from lab_llm.evaluation.accuracy import AccuracyEvaluator
from lab_llm.evaluation.config import AccuracyConfig
from lab_llm.grading.grades import Grades
from lab_llm.policy.policy import Policy
from lab_llm.policy.tiny_model import TinyModelConfig, build_model, train_tokenizer
from lab_llm.problems import Problem, ProblemSets
from lab_llm.text.prompts import encode
from labrun.config.components import build
from labrun.config.experiments import compose
from labrun.contract import Evaluator
from labrun.errors import LabError, PreemptedError
from labrun.experiment import ResourcesConfig
from labrun.plan import Setup
from labrun.runs.context import RunContext
from labrun.runs.run_dir import RunDir
from transformers import Qwen2Config, Qwen2ForCausalLM

SIZES = TinyModelConfig(hidden_size=16, intermediate_size=32, num_layers=1, max_positions=128)


@pytest.fixture(scope="module")
def policy():
    tokenizer = train_tokenizer(["maybe wait, 1 2 3"], SIZES)
    model = build_model(tokenizer, SIZES, seed=0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:  # so large that every token of the prompt tells
                weight.mul_(20)
    return Policy(model=model, tokenizer=tokenizer)


@pytest.fixture(scope="module")
def foreign(policy):
    """A random model of an architecture that the toolkit's sampler refuses."""
    config = Qwen2Config(
        vocab_size=len(policy.tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        eos_token_id=policy.tokenizer.eos_token_id,
        pad_token_id=policy.tokenizer.pad_token_id,
        bos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Policy(model=Qwen2ForCausalLM(config), tokenizer=policy.tokenizer)


def context(path, seed=0):
    path.mkdir(exist_ok=True)
    return RunContext(
        run=RunDir(path), seed=seed, attempt=1, devices=(), resume_from=None, keep_checkpoints=1
    )


def problem(number):
    prompt = ({"role": "user", "content": "1 " * number},)
    return Problem(id=f"p{number}", prompt=prompt, answer=str(number))


def even_first_letter(problem, completion):
    """A reward that a random model gets about half of the time."""
    return float(len(completion) > 0 and ord(completion[0]) % 2 == 0)


DATA = ProblemSets(
    train=[],
    evaluation={"in_domain": [problem(n) for n in (1, 2, 3)], "ood": [problem(4), problem(5)]},
    verify=even_first_letter,
)


def run(path, model, data=DATA, *, seed=0, **settings):
    ctx = context(path, seed)
    defaults = {"num_samples": 4, "max_new_tokens": 6}
    scores = AccuracyEvaluator(AccuracyConfig(**{**defaults, **settings})).evaluate(
        ctx, model, data
    )
    return {(score.task, score.metric): score for score in scores}


def lines(path, name):
    text = (path / f"artifacts/completions/{name}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("which", ["policy", "foreign"])
def test_scores_agree_with_the_completions_that_are_written(tmp_path, request, which):
    scores = run(tmp_path, request.getfixturevalue(which), pass_k=(1, 2))
    for name, ids in (("in_domain", ["p1", "p2", "p3"]), ("ood", ["p4", "p5"])):
        written = lines(tmp_path, name)
        assert [line["id"] for line in written] == [i for i in ids for _ in range(4)]
        assert [line["sample"] for line in written] == list(range(4)) * len(ids)
        correct = [line["correct"] for line in written]
        assert correct == [even_first_letter(None, line["completion"]) for line in written]
        accuracy = scores[name, "accuracy"]
        assert accuracy.items == [sum(correct[i : i + 4]) / 4 for i in range(0, len(correct), 4)]
        assert accuracy.value == pytest.approx(sum(correct) / len(correct))
        assert accuracy.n == len(ids)
        assert scores[name, "pass@1"].items == pytest.approx(accuracy.items)
        # pass@2 of 4 samples by the number correct: 0, 1/2, 5/6, 1, 1
        table = {0.0: 0.0, 0.25: 0.5, 0.5: 5 / 6, 0.75: 1.0, 1.0: 1.0}
        assert scores[name, "pass@2"].items == pytest.approx([table[a] for a in accuracy.items])
        assert 1 <= scores[name, "completion_length"].value <= 6


def test_words_of_doubt_are_averaged_over_samples(tmp_path, policy, monkeypatch):
    ids = [policy.tokenizer.encode(text) for text in ("maybe waiting", "1")]
    monkeypatch.setattr("lab_llm.sampling.batch_engines.DecoderEngine._sample", lambda *_: ids)
    data = ProblemSets(train=[], evaluation={"s": [problem(1)]}, verify=even_first_letter)
    scores = run(tmp_path, policy, data, num_samples=2)
    assert scores["s", "epistemic_count"].items == [1.0]  # (maybe + wait) / 2
    assert scores["s", "epistemic_words"].items == [0.5]  # maybe / 2
    assert scores["s", "completion_length"].items == [sum(map(len, ids)) / 2]


@pytest.mark.parametrize("which", ["policy", "foreign"])
def test_it_leaves_the_global_random_state_and_the_mode_alone(tmp_path, request, which):
    model = request.getfixturevalue(which)
    model.model.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1234)
        before = torch.get_rng_state()
        run(tmp_path, model)
        assert torch.equal(torch.get_rng_state(), before)
    assert model.model.training


@pytest.mark.parametrize("which", ["policy", "foreign"])
def test_the_runs_seed_alone_decides(tmp_path, request, which):
    model = request.getfixturevalue(which)
    run(tmp_path / "a", model)
    torch.rand(3)
    run(tmp_path / "b", model)
    run(tmp_path / "c", model, seed=1)
    assert lines(tmp_path / "a", "ood") == lines(tmp_path / "b", "ood")
    assert lines(tmp_path / "a", "ood") != lines(tmp_path / "c", "ood")


def test_a_set_is_scored_alike_beside_other_sets(tmp_path, policy):
    run(tmp_path / "both", policy)
    alone = ProblemSets(train=[], evaluation={"ood": DATA.evaluation["ood"]}, verify=DATA.verify)
    run(tmp_path / "alone", policy, alone)
    assert lines(tmp_path / "both", "ood") == lines(tmp_path / "alone", "ood")


def test_greedy_samplers_agree(tmp_path, policy, monkeypatch):
    greedy = {"temperature": 0.0, "num_samples": 1, "max_new_tokens": 12}
    ends = list(range(0, len(policy.tokenizer), 3))  # many, so that rows end at different lengths
    monkeypatch.setattr(policy.model.generation_config, "eos_token_id", ends)
    own = run(tmp_path / "own", policy, **greedy)
    monkeypatch.setattr("lab_llm.sampling.decoder.ARCHITECTURES", ())
    other = run(tmp_path / "generate", policy, **greedy)
    lengths = own["in_domain", "completion_length"].items
    assert len(set(lengths)) > 1
    assert min(lengths) < 12
    assert own == other
    for name in DATA.evaluation:
        own_lines, other_lines = (lines(tmp_path / part, name) for part in ("own", "generate"))
        assert [line.pop("engine") for line in own_lines] == ["cpu"] * len(own_lines)
        assert [line.pop("engine") for line in other_lines] == ["transformers"] * len(own_lines)
        assert own_lines == other_lines


def test_another_sampler_is_noted_in_the_run(tmp_path, foreign):
    run(tmp_path, foreign)
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert ["qwen2" in e["message"] for e in events if e["kind"] == "note"] == [True]


def test_limits_and_batches(tmp_path, policy):
    scores = run(tmp_path, policy, max_problems=1, batch_size=1)
    assert {score.n for score in scores.values()} == {1}
    assert len(lines(tmp_path, "in_domain")) == 4
    run(tmp_path, policy, batch_size=4)
    assert len(lines(tmp_path, "in_domain")) == 12


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"pass_k": (1, 8), "num_samples": 4},
            "evaluator.accuracy.pass_k=[1, 8] needs num_samples >= 8; it is 4",
        ),
        (
            {"temperature": 0.0, "num_samples": 2},
            "evaluator.accuracy.temperature=0 gives num_samples=2 equal completions",
        ),
    ],
)
def test_contradictions_are_refused(settings, message):
    with pytest.raises(LabError) as caught:
        AccuracyEvaluator(AccuracyConfig(**settings)).plan(Setup())
    assert message in str(caught.value)


def test_a_prompt_without_room_for_its_completion_is_refused_by_key_and_name(tmp_path, policy):
    longest = len(encode(policy.tokenizer, problem(5).prompt))
    run(tmp_path, policy, max_new_tokens=128 - longest, num_samples=1)
    message = (
        rf"^evaluator\.accuracy\.max_new_tokens={129 - longest}: with the prompt of p5, {longest} "
        rf"tokens, that is more than the model's 128; set {128 - longest} at most$"
    )
    with pytest.raises(LabError, match=message):
        run(tmp_path, policy, max_new_tokens=129 - longest)
    evaluator = AccuracyEvaluator(AccuracyConfig(max_new_tokens=129 - longest))
    with pytest.raises(LabError, match=message):
        evaluator.plan(Setup(model=policy, data=DATA))
    only_first = AccuracyConfig(max_new_tokens=129 - longest, max_problems=1)
    AccuracyEvaluator(only_first).plan(Setup(model=policy, data=DATA))


def test_a_run_whose_completions_have_no_room_is_refused_before_it_starts():
    parts = build(compose(["plugin=rlrt", "accuracy.max_new_tokens=1020"]))
    with pytest.raises(LabError, match=r"^evaluator\.accuracy\.max_new_tokens=1020: with the prom"):
        parts.plan(ResourcesConfig())


def test_messages_name_the_keys_of_the_evaluators_own_section():
    class Other(AccuracyEvaluator):
        section = "other"

    with pytest.raises(LabError, match=r"^evaluator\.other\.pass_k="):
        Other(AccuracyConfig(pass_k=(2,))).plan(Setup())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None)
        (missing,) = Other(AccuracyConfig(engine="vllm")).plan(Setup()).missing
    assert missing.startswith("evaluator.other.engine=vllm, but vllm is not installed")


def test_it_is_an_evaluator_by_contract():
    assert isinstance(AccuracyEvaluator(AccuracyConfig()), Evaluator)


def test_curves_are_written_where_there_are_several_samples(tmp_path, policy):
    scores = run(tmp_path, policy, pass_k=(2,))
    written = json.loads((tmp_path / "artifacts/pass_at_k.json").read_text())
    assert written["sampling"]["num_samples"] == 4
    assert list(written["sets"]) == ["in_domain", "ood"]
    ood = written["sets"]["ood"]
    assert [point["k"] for point in ood["pass_at_k"]] == [1, 2, 4]
    assert ood["pass_at_k"][1]["mean"] == pytest.approx(scores["ood", "pass@2"].value)
    assert ood["accuracy"]["mean"] == pytest.approx(scores["ood", "accuracy"].value)
    assert (tmp_path / "artifacts/pass_at_k.png").stat().st_size > 1000
    run(tmp_path / "one", policy, num_samples=1)
    assert not list((tmp_path / "one" / "artifacts").glob("pass_at_k*"))


def test_a_failed_evaluation_leaves_the_earlier_completions_whole(tmp_path, policy):
    run(tmp_path, policy)
    before = lines(tmp_path, "ood")

    def broken(problem, completion):
        if problem.id == "p5":
            raise ValueError("no verdict")
        return 0.0

    data = ProblemSets(train=[], evaluation=DATA.evaluation, verify=broken)
    with pytest.raises(LabError, match=r"the verifier raised ValueError: no verdict for p5"):
        run(tmp_path, policy, data)
    assert lines(tmp_path, "ood") == before
    assert not list(tmp_path.rglob("*.draft"))


def test_lines_say_where_a_sample_comes_from(tmp_path, policy):
    run(tmp_path, policy)
    written = lines(tmp_path, "ood")
    assert [line["index"] for line in written] == [0] * 4 + [1] * 4
    assert {line["engine"] for line in written} == {"cpu"}
    assert {line["seed"] for line in written} == {context(tmp_path).derive_seed("evaluate", "ood")}
    assert all(1 <= line["tokens"] <= 6 for line in written)


@pytest.mark.parametrize("reward", [-0.1, 1.5, math.nan, math.inf, None, "1", True, [1.0]])
def test_what_is_no_reward_is_refused_by_the_problems_name(tmp_path, policy, reward):
    data = dataclasses.replace(
        DATA, verify=lambda problem, _: 1.0 if problem.id == "p1" else reward
    )
    with pytest.raises(
        LabError, match=r"^the verifier gave .* for p2; allowed: a number from 0 to 1$"
    ):
        run(tmp_path, policy, data)


def test_lines_hold_prompt_gold_and_reward(tmp_path, policy):
    run(tmp_path, policy)
    for line in lines(tmp_path, "ood"):
        number = line["id"].removeprefix("p")
        assert line["prompt"] == [{"role": "user", "content": "1 " * int(number)}]
        assert line["gold"] == number
        assert line["reward"] == line["correct"] == even_first_letter(None, line["completion"])
        assert line["timed_out"] is False


class Slow:
    """A grader that runs out of time for the problem p4, and keeps how it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, problem, completion):
        raise AssertionError("one by one")

    def grade_all(self, problems, completions):
        self.asked.append([problem.id for problem in problems])
        slow = [problem.id == "p4" for problem in problems]
        return Grades([0.0 if late else 1.0 for late in slow], slow)


def test_a_batch_is_graded_at_once_and_timeouts_are_noted(tmp_path, policy):
    verify = Slow()
    scores = run(
        tmp_path, policy, dataclasses.replace(DATA, verify=verify), num_samples=2, batch_size=4
    )
    assert verify.asked == [["p1", "p1", "p2", "p2"], ["p3", "p3"], ["p4", "p4", "p5", "p5"]]
    assert scores["ood", "accuracy"].items == [0.0, 1.0]
    assert [line["timed_out"] for line in lines(tmp_path, "ood")] == [True, True, False, False]
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [e["message"] for e in events if e["kind"] == "note"] == [
        "the grader ran out of time for 2 of 4 completions of ood: their reward is 0"
    ]


def test_data_without_evaluation_sets_have_no_scores_and_no_files(tmp_path, policy):
    nothing = ProblemSets(train=[problem(1)], evaluation={}, verify=even_first_letter)
    AccuracyEvaluator(AccuracyConfig()).plan(Setup(model=policy, data=nothing))
    assert run(tmp_path, policy, nothing, pass_k=(2,)) == {}
    assert not (tmp_path / "artifacts").exists()


@pytest.mark.parametrize("which", ["policy", "foreign"])
def test_a_stop_ends_sampling_after_the_batch(tmp_path, request, which, monkeypatch):
    from lab_llm.sampling.batch_engines import _BatchEngine

    model, ctx = request.getfixturevalue(which), context(tmp_path)
    batches = []
    for kind in _BatchEngine.__subclasses__():
        original = kind._sample

        def stopping(self, prompts, *rest, original=original):
            batches.append(len(prompts))
            ctx.should_stop = len(batches) == 2
            return original(self, prompts, *rest)

        monkeypatch.setattr(kind, "_sample", stopping)
    evaluator = AccuracyEvaluator(AccuracyConfig(max_new_tokens=2, batch_size=1))
    with pytest.raises(PreemptedError, match="stopped before the end of sampling"):
        evaluator.evaluate(ctx, model, DATA)
    assert batches == [1, 1]
    assert not list(tmp_path.rglob("completions/*"))


def test_a_stop_ends_grading_after_the_batch(tmp_path, policy):
    ctx, asked = context(tmp_path), []

    def verify(problem, completion):
        asked.append(problem.id)
        ctx.should_stop = True
        return 0.0

    evaluator = AccuracyEvaluator(AccuracyConfig(max_new_tokens=2, batch_size=2))
    with pytest.raises(PreemptedError, match="stopped before the end of grading"):
        evaluator.evaluate(ctx, policy, dataclasses.replace(DATA, verify=verify))
    assert asked == ["p1", "p2"]


def test_a_stop_before_an_evaluation_samples_nothing(tmp_path, policy):
    ctx = context(tmp_path)
    ctx.should_stop = True
    with pytest.raises(PreemptedError):
        AccuracyEvaluator(AccuracyConfig()).evaluate(ctx, policy, DATA)
    assert not (tmp_path / "artifacts").exists()


@pytest.mark.parametrize("name", ["../../x", "a/", "/abs", "..", "a\x00b", ""])
def test_a_set_whose_name_leaves_the_folder_is_refused_before_training(policy, name):
    data = dataclasses.replace(DATA, evaluation={name: [problem(1)]})
    with pytest.raises(LabError, match=r"^evaluation sets of the data: the set's name .*; "):
        AccuracyEvaluator(AccuracyConfig()).plan(Setup(model=policy, data=data))


def test_marks_of_thinking_that_are_special_tokens_stay(tmp_path, monkeypatch):
    tokenizer = train_tokenizer(["maybe wait, 1 2 3 ans 5"], SIZES)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    model = build_model(tokenizer, SIZES, seed=0)
    ids = [*tokenizer.encode("<think>wait 5</think>ans 5"), tokenizer.eos_token_id]
    monkeypatch.setattr("lab_llm.sampling.batch_engines.DecoderEngine._sample", lambda *_: [ids])
    data = ProblemSets(train=[], evaluation={"s": [problem(1)]}, verify=lambda *_: 1.0)
    run(tmp_path, Policy(model=model, tokenizer=tokenizer), data, num_samples=1)
    assert [line["completion"] for line in lines(tmp_path, "s")] == ["<think>wait 5</think>ans 5"]
