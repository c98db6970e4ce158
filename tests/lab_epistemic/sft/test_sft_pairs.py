"""The two sets: what gets into them, and what a file of them must be."""

import dataclasses
import json
from contextlib import contextmanager

import numpy as np
import pytest
from lab_epistemic.sft import pairs as sft_pairs
from lab_epistemic.sft.config import SelfSFTConfig
from lab_epistemic.sft.file import Response, as_text, check, of_kind, read
from lab_epistemic.sft.pairs import choose, in_window, of_run, statistics
from lab_llm.datasets.countdown import CountdownDataset
from lab_llm.datasets.countdown_config import CountdownConfig
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.engine import Sampling
from lab_llm.policy.policy import load_policy
from lab_llm.text.prompts import COUNTDOWN_TEMPLATE, with_solution
from labrun import LabError, PreemptedError
from labrun.config.experiments import compose
from labrun.runs import run_dir
from labrun.runs.context import RunContext

SMALL = SelfSFTConfig(num_probes=4)


@pytest.fixture(scope="module")
def policy():
    return load_policy(PolicyConfig())


@pytest.fixture(scope="module")
def sets():
    return CountdownDataset(CountdownConfig(train_size=16)).sets


def context(root, seed=1) -> RunContext:
    run = run_dir.create(compose(["plugin=rlrt", f"seed={seed}"]), root=root)
    return RunContext(
        run=run, seed=seed, attempt=0, devices=(), resume_from=None, keep_checkpoints=2
    )


def made(root, policy, sets, config=SMALL, seed=1) -> list[Response]:
    return of_run(context(root, seed), policy, sets, config, template=COUNTDOWN_TEMPLATE)


@pytest.fixture(scope="module")
def responses(tmp_path_factory, policy, sets):
    return made(tmp_path_factory.mktemp("made"), policy, sets)


def response(name, kind="unguided", text="x", tokens=1) -> Response:
    return Response(
        id=name,
        kind=kind,
        prompt=({"role": "user", "content": "q"},),
        completion=text,
        tokens=tokens,
        token_ids=(0,) * tokens,
    )


def several(name, kind, size) -> list[Response]:
    return [response(name, kind, f"{name} {kind} {i}") for i in range(size)]


# Correct responses (unguided, guided) of four problems: a 2, 1; b 1, 0; c 0, 3; d 3, 2.
UNGUIDED = [
    several(name, "unguided", size) for name, size in zip("abcd", (2, 1, 0, 3), strict=True)
]
GUIDED = [several(name, "guided", size) for name, size in zip("abcd", (1, 0, 3, 2), strict=True)]


@pytest.mark.parametrize(("size", "kept"), [(1, "ad"), (2, "d")])
def test_problems_with_enough_of_both_kinds_give_as_many_of_each(size, kept):
    found = choose(UNGUIDED, GUIDED, size, np.random.default_rng(0))
    for kind in ("unguided", "guided"):
        assert [r.id for r in of_kind(found, kind)] == [n for n in kept for _ in range(size)]
    assert len({r.completion for r in found}) == len(found)


def test_every_correct_response_may_be_drawn():
    rngs = map(np.random.default_rng, range(40))
    drawn = {r.completion for rng in rngs for r in choose(UNGUIDED, GUIDED, 1, rng)}
    assert drawn == {r.completion for i in (0, 3) for r in UNGUIDED[i] + GUIDED[i]}


def test_no_problem_with_enough_is_an_error_with_the_counts():
    with pytest.raises(LabError, match=r"=3 .*of 4 problems 1 have as many unguided and 1 guided"):
        choose(UNGUIDED, GUIDED, 3, np.random.default_rng(0))


def test_the_sets_are_correct_responses_to_the_same_problems_in_the_same_order(
    responses, policy, sets
):
    unguided, guided = of_kind(responses, "unguided"), of_kind(responses, "guided")
    assert [r.id for r in unguided] == [r.id for r in guided]
    assert len({r.id for r in unguided}) == len(unguided) > 4
    problems = {problem.id: problem for problem in sets.train}
    for one in responses:
        assert sets.verify(problems[one.id], one.completion) == 1.0
        assert one.prompt == problems[one.id].prompt
        assert one.token_ids[-1] == policy.tokenizer.eos_token_id
        assert one.tokens == len(one.token_ids)
        ids = list(one.token_ids)
        assert policy.tokenizer.decode(ids, skip_special_tokens=True) == one.completion


def test_guided_responses_voice_less_doubt(responses):
    words = statistics(responses, ("wait", "hmm", "maybe", "no"))["epistemic_words"]
    assert words["guided"] < words["unguided"]


def asked(monkeypatch, tmp_path, policy, sets, config):
    """The chats of the unguided and of the guided pass."""
    chats, encode = [], sft_pairs.encode

    def recording(tokenizer, prompt):
        chats.append(list(prompt))
        return encode(tokenizer, prompt)

    monkeypatch.setattr(sft_pairs, "encode", recording)
    made(tmp_path, policy, sets, config)
    size = len(sets.train)
    return chats[:size], chats[size:]


def test_the_guide_is_one_of_the_problems_own_correct_responses(
    monkeypatch, tmp_path, policy, sets
):
    unguided, guided = asked(monkeypatch, tmp_path, policy, sets, SMALL)
    assert unguided == [list(problem.prompt) for problem in sets.train]
    assert 4 < len(guided) < len(sets.train)
    by_question = {problem.prompt[0]["content"]: problem for problem in sets.train}
    for (message,) in guided:
        question, solution = message["content"].split("\nref: ")
        assert sets.verify(by_question[question], solution) == 1.0
        assert [message] == with_solution(
            by_question[question].prompt, solution, COUNTDOWN_TEMPLATE
        )


def test_the_datasets_solution_guides_where_asked_for(monkeypatch, tmp_path, policy, sets):
    config = dataclasses.replace(SMALL, solution_source="dataset")
    _, guided = asked(monkeypatch, tmp_path, policy, sets, config)
    allowed = [with_solution(p.prompt, p.solution or "", COUNTDOWN_TEMPLATE) for p in sets.train]
    assert guided
    assert all(chat in allowed for chat in guided)


def test_only_correct_responses_that_end_are_used(monkeypatch, tmp_path, policy, sets):
    problem = sets.train[0]
    right = policy.tokenizer(problem.solution, add_special_tokens=False)["input_ids"]
    end = policy.tokenizer.eos_token_id
    assert sets.verify(problem, problem.solution) == 1.0

    class Engine:
        def sample(self, prompts, *_, **__):
            return {i: [right, [*right[:-1], end], [*right, end]] for i in range(len(prompts))}

    @contextmanager
    def opened(*_, **__):
        yield Engine()

    monkeypatch.setattr(sft_pairs, "open_engine", opened)
    one = dataclasses.replace(sets, train=[problem])
    found = made(tmp_path, policy, one)
    assert [(r.kind, r.token_ids) for r in found] == [
        ("unguided", (*right, end)),
        ("guided", (*right, end)),
    ]
    facts = json.loads(next(tmp_path.glob("*/artifacts/sft_pairs.json")).read_text())
    assert facts["sampled"]["correct_fraction"] == {"unguided": 1 / 4, "guided": 1 / 4}


def test_passes_sample_as_configured_each_with_a_seed_of_its_own(
    monkeypatch, tmp_path, policy, sets
):
    opened, asked = [], []

    class Engine:
        def sample(self, prompts, sampling, *, seed, **_):
            asked.append((sampling, seed))
            return {i: [[policy.tokenizer.eos_token_id]] for i in range(len(prompts))}

    @contextmanager
    def opening(_, __, config, **___):
        opened.append(config.engine)
        yield Engine()

    monkeypatch.setattr(sft_pairs, "open_engine", opening)
    settings = {"temperature": 0.7, "top_p": 0.9, "top_k": 30}
    config = SelfSFTConfig(num_probes=1, sampler="transformers", **settings)
    made(tmp_path / "right", policy, dataclasses.replace(sets, verify=lambda *_: 1.0), config)
    assert opened == ["transformers"] * 2
    shared = {"num_samples": 1, "max_new_tokens": 128, "batch_size": 256, **settings}
    expected = Sampling(**shared, end_token_ids=(policy.tokenizer.eos_token_id,))
    assert [sampling for sampling, _ in asked] == [expected] * 2
    assert len({seed for _, seed in asked}) == 2
    with pytest.raises(LabError, match="no training problem has"):
        made(tmp_path / "none", policy, dataclasses.replace(sets, verify=lambda *_: 0.0), config)
    assert len(opened) == 3, "nothing is asked a second time where nothing was solved"


def test_the_sets_depend_on_the_seed_and_not_on_guidance(tmp_path, policy, sets, responses):
    config = dataclasses.replace(SMALL, guidance="solution", max_steps=3)
    assert made(tmp_path / "a", policy, sets, config) == responses
    assert made(tmp_path / "b", policy, sets, seed=2) != responses


def test_a_second_attempt_reads_what_the_first_wrote(tmp_path, policy, sets, monkeypatch):
    ctx = context(tmp_path)
    first = of_run(ctx, policy, sets, SMALL, template=COUNTDOWN_TEMPLATE)
    monkeypatch.setattr(sft_pairs, "sample", None)
    assert of_run(ctx, policy, sets, SMALL, template=COUNTDOWN_TEMPLATE) == first


def test_a_run_that_stops_between_the_passes_keeps_the_first(
    tmp_path, policy, sets, responses, monkeypatch
):
    ctx = context(tmp_path)
    opened, sampled = sft_pairs.open_engine, []

    @contextmanager
    def stopping(*args, **kwargs):
        with opened(*args, **kwargs) as engine:
            sampled.append(engine)
            yield engine
        ctx.should_stop = True

    monkeypatch.setattr(sft_pairs, "open_engine", stopping)
    with pytest.raises(PreemptedError, match="before the guided responses"):
        of_run(ctx, policy, sets, SMALL, template=COUNTDOWN_TEMPLATE)
    ctx.should_stop = False
    assert of_run(ctx, policy, sets, SMALL, template=COUNTDOWN_TEMPLATE) == responses
    assert len(sampled) == 2


def test_a_line_separator_in_a_response_is_read_again(tmp_path):
    odd = [response("a", kind, text="x\u2028y\x85z") for kind in ("unguided", "guided")]
    path = tmp_path / "pairs.jsonl"
    path.write_text(as_text(odd), encoding="utf-8")
    assert read(path) == odd


def test_a_file_of_an_earlier_run_takes_the_place_of_sampling(
    tmp_path, policy, sets, responses, monkeypatch
):
    path = written(tmp_path, responses[:4])
    monkeypatch.setattr(sft_pairs, "sample", None)
    config = dataclasses.replace(SMALL, pairs=str(path))
    assert made(tmp_path, policy, sets, config) == responses[:4]
    copy = next(tmp_path.glob("*/artifacts/sft_pairs.jsonl"))
    assert copy.read_text() == path.read_text()


def written(folder, responses, **of_second):
    """A file of the responses, the second line changed."""
    lines = [dataclasses.asdict(one) for one in responses]
    if of_second:
        lines[1] |= of_second
    path = folder / "sft_pairs.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"kind": "told"}, "kind: Input should be 'unguided' or 'guided'"),
        ({"prompt": []}, "prompt"),
        ({"tokens": 3}, "tokens=3, but token_ids holds"),
        ({"more": 1}, "more"),
        ({"prompt": [{"role": "user", "content": "q"}]}, "the prompt is not that of"),
        ({"completion": "ans 1"}, "the completion is not correct"),
        ({"tokens": 2, "token_ids": [70, 2]}, "not the completion by the model's tokenizer"),
        ({"tokens": 1, "token_ids": [10**6]}, "the model's vocabulary"),
    ],
)
def test_a_malformed_file_is_refused_by_its_line(tmp_path, responses, sets, policy, change, cause):
    path = written(tmp_path, responses[:2], **change)
    with pytest.raises(LabError) as error:
        check(path, read(path), sets, policy.tokenizer)
    assert str(error.value).startswith(f"{path}, line 2: ")
    assert cause in str(error.value)


def test_a_problem_that_is_not_trained_on_is_refused(tmp_path, responses, sets, policy):
    path = written(tmp_path, responses)
    others = dataclasses.replace(sets, train=[p for p in sets.train if p.id != responses[2].id])
    with pytest.raises(LabError, match=f"line 3: no training problem '{responses[2].id}'"):
        check(path, read(path), others, policy.tokenizer)


def test_a_response_without_its_end_token_is_refused(tmp_path, responses, sets, policy):
    ids = responses[1].token_ids[:-1]
    path = written(tmp_path, responses[:2], token_ids=ids, tokens=len(ids))
    with pytest.raises(LabError, match="line 2: token_ids do not end in an end token"):
        check(path, read(path), sets, policy.tokenizer)


def test_a_sound_file_passes(tmp_path, responses, sets, policy):
    path = written(tmp_path, responses)
    check(path, read(path), sets, policy.tokenizer)


@pytest.mark.parametrize(
    ("text", "cause"),
    [("", "holds no responses"), ("{\n", "line 1: the line: Invalid JSON"), (None, "cannot read")],
)
def test_a_file_that_is_none_is_refused(tmp_path, text, cause):
    path = tmp_path / "pairs.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(LabError, match=cause):
        read(path)


def test_problems_with_more_of_one_kind_are_refused(tmp_path, responses):
    with pytest.raises(LabError, match="has 1 unguided and 0 guided responses"):
        read(written(tmp_path, responses[:1]))


def test_statistics_are_means_over_the_responses_of_each_set():
    found = [
        response("a", text="maybe, maybe not", tokens=4),
        response("b", text="checking", tokens=8),
        response("a", "guided", "yes", 3),
        response("b", "guided", "wait", 2),
    ]
    # Whole words: maybe twice, and "checking" none; as substrings "check" in it too.
    assert statistics(found, ("maybe", "check", "wait")) == {
        "problems": 2,
        "responses": {"unguided": 2, "guided": 2},
        "tokens": {"unguided": 6.0, "guided": 2.5},
        "epistemic_words": {"unguided": 1.0, "guided": 0.5},
        "epistemic_count": {"unguided": 1.5, "guided": 0.5},
    }


def test_the_window_keeps_the_first_problems_that_are_solved_now_and_then():
    found = [[response("p")] * size for size in (0, 1, 4, 5, 2, 3)]
    assert in_window(found, SelfSFTConfig()) == [1, 2, 3, 4, 5]
    window = SelfSFTConfig(min_passes=1, max_passes=4)
    assert in_window(found, window) == [1, 2, 4, 5]
    assert in_window(found, dataclasses.replace(window, num_problems=3)) == [1, 2, 4]
    with pytest.raises(LabError, match=r"has 6 to 8 correct responses of .*num_probes=8; found"):
        in_window(found, SelfSFTConfig(min_passes=6))
    assert in_window([[]], window) == []  # no correct response at all has a message of its own


def test_the_first_responses_are_taken_where_that_is_asked():
    texts = [[response("p", text=text) for text in "abc"], [response("p", "guided", "d")] * 3]
    chosen = choose([texts[0]], [texts[1]], 2, None)
    assert [one.completion for one in chosen] == ["a", "b", "d", "d"]


def test_the_first_correct_response_guides_and_is_learned(monkeypatch, tmp_path, policy, sets):
    config = dataclasses.replace(SMALL, response_choice="first", num_problems=2)
    asked = []
    original = sft_pairs.with_solution

    def noted(prompt, solution, template):
        asked.append(solution)
        return original(prompt, solution, template)

    monkeypatch.setattr(sft_pairs, "with_solution", noted)
    run = context(tmp_path)
    found = of_run(run, policy, sets, config, template=COUNTDOWN_TEMPLATE)
    kept = run.artifact_path("sft_unguided.jsonl").read_text()
    sampled = [json.loads(line) for line in kept.splitlines()]
    firsts = {}
    for one in sampled:
        firsts.setdefault(one["id"], one["completion"])
    assert asked == [*firsts.values()][:2]
    assert {r.completion for r in of_kind(found, "unguided")} <= set(asked)
    facts = json.loads(run.artifact_path("sft_pairs.json").read_text())["sampled"]
    assert facts["problems_probed"] == {"unguided": 16, "guided": 2}
    # of all responses, those outside the window too
    assert facts["correct_fraction"]["unguided"] == len(sampled) / (16 * config.num_probes)
