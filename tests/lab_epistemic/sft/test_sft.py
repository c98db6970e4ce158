"""What is refused before anything starts, and what the study's arms are."""

import importlib.util
import json

import pytest
from lab_epistemic.sft.config import SelfSFTConfig
from lab_epistemic.sft.trainer import SelfSFTTrainer
from lab_llm.datasets.countdown import CountdownDataset
from lab_llm.datasets.countdown_config import CountdownConfig
from lab_llm.policy.config import PolicyConfig
from lab_llm.problems import Problem, ProblemSets
from labrun import LabError, Plan
from labrun.config.experiments import compose, studied
from setups import setup_of

COUNTDOWN = CountdownDataset(CountdownConfig(train_size=8))


class Given:
    """A dataset of these problems."""

    def __init__(self, *problems):
        self.problems = problems

    def plan(self, setup):
        return Plan(offers=self.load(None))

    def fingerprint(self):
        return ""

    def load(self, _):
        return ProblemSets(self.problems, {}, lambda *_: 1.0)


def problem(question="q", solution=None, name="p") -> Problem:
    return Problem(name, ({"role": "user", "content": question},), "6", solution)


def planned(dataset=COUNTDOWN, **settings):
    return SelfSFTTrainer(SelfSFTConfig(**settings)).plan(setup_of(dataset))


def test_the_plan_says_what_is_sampled_and_trained():
    plan = planned(num_probes=4)
    facts = plan.facts
    assert facts["responses_sampled"] == "at most 64"
    assert facts["optimizer_steps"] == 100
    assert facts["model"] == "tiny"
    assert not plan.missing


@pytest.mark.parametrize(("bound", "taken"), [(1, 1), (5, 4), (32, 32), (100, 32)])
def test_a_micro_batch_is_the_largest_divisor_of_a_batch_up_to_its_bound(bound, taken):
    assert planned(micro_batch_size=bound, batch_size=32).facts["micro_batch_size"] == taken


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"responses_per_problem": 9}, "responses_per_problem=9 is more than the .*num_probes=8"),
        ({"teacher_template": "{prompt}"}, "trainer.teacher_template: .*{solution} once"),
        ({"pairs": "/none.jsonl"}, "cannot read /none.jsonl"),
        ({"max_completion_length": 4000}, "has [0-9]+ tokens before the response it shows"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(LabError, match=message):
        planned(**settings)


def test_a_response_that_guides_needs_room_twice():
    with pytest.raises(LabError, match=r"the model only 1024 for it and .*, twice; lower that"):
        planned(max_completion_length=550)
    assert planned(max_completion_length=550, solution_source="dataset")


@pytest.mark.skipif(bool(importlib.util.find_spec("vllm")), reason="vllm is installed")
def test_a_sampler_that_is_not_here_is_missing_and_no_error():
    (missing,) = planned(sampler="vllm").missing
    assert missing.startswith("trainer.sampler=vllm, but vllm is not installed")


def test_a_training_problem_without_the_solution_that_guides_is_refused():
    dataset = Given(problem(solution="5+1=6"), problem(name="q"))
    assert planned(dataset)
    with pytest.raises(LabError, match=r"solution_source=dataset, but 1 of 2 training problems"):
        planned(dataset, solution_source="dataset")


def test_a_solution_that_is_too_long_for_the_model_is_refused():
    limit = planned().facts["context_length"]
    fits, too_long = ("1+" * ((limit - 128) // 2 - n) for n in (40, 0))
    assert planned(Given(problem(solution=fits)), solution_source="dataset")
    with pytest.raises(LabError, match=r"the guided prompt of p has [0-9]+ tokens, and the model"):
        planned(Given(problem(solution=too_long)), solution_source="dataset")


def test_a_model_that_is_not_here_is_missing_and_no_error():
    missing = planned(model=PolicyConfig(name="org/none"), sampler="vllm").missing
    assert any("org/none" in text for text in missing)


def test_a_malformed_file_of_pairs_is_refused(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"id": "p"}\n')
    with pytest.raises(LabError, match=r"pairs.jsonl, line 1: kind: Field required"):
        planned(pairs=str(path))


def test_pairs_of_other_problems_are_refused(tmp_path):
    line = {"id": "p", "prompt": [{"role": "user", "content": "q"}], "completion": "x"}
    line |= {"tokens": 1, "token_ids": [2]}
    path = tmp_path / "pairs.jsonl"
    kinds = ("unguided", "guided")
    path.write_text("".join(json.dumps(line | {"kind": kind}) + "\n" for kind in kinds))
    with pytest.raises(LabError, match=r"line 1: no training problem 'p'"):
        planned(pairs=str(path))


def test_a_decoder_that_does_not_know_the_model_is_refused(tmp_path):
    from lab_llm.policy.policy import load_policy

    policy = load_policy(PolicyConfig())
    policy.model.save_pretrained(tmp_path)
    policy.tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = PolicyConfig(name=str(tmp_path))
    with pytest.raises(LabError, match=r"trainer.sampler=cpu, .*config.json"):
        planned(model=model)
    assert planned(model=model, sampler="transformers")


def test_the_method_brings_its_trainer():
    experiment = compose(["plugin=epistemic", "method=sft_guided"])
    assert experiment.components["trainer"] == "epistemic.sft"
    assert experiment.settings["trainer"]["guidance"] == "solution"


def test_the_study_compares_both_arms_over_five_seeds():
    points = studied(["plugin=epistemic", "study=offpolicy", "num_probes=4"])
    arms = [(p.choices["method"], p.settings["trainer"]["guidance"]) for p in points]
    assert sorted(set(arms)) == [("sft_guided", "solution"), ("sft_unguided", "none")]
    assert [p.run.seed for p in points] == [seed for seed in range(5) for _ in range(2)]
    rates = {p.choices["method"]: p.settings["trainer"]["learning_rate"] for p in points}
    assert rates == {"sft_unguided": 3e-4, "sft_guided": 1e-4}  # the README's
    assert {p.settings["trainer"]["num_probes"] for p in points} == {4}
