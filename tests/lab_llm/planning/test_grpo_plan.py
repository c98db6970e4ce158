"""What a run with a teacher is refused for before it starts."""

import dataclasses

import pytest
from lab_llm.datasets.countdown import CountdownDataset
from lab_llm.datasets.countdown_config import CountdownConfig
from lab_llm.planning import grpo as grpo_plan
from lab_llm.planning.shapes import shape_of_model
from lab_llm.planning.teacher_weights import TeacherCopies
from lab_llm.policy.config import PolicyConfig
from lab_llm.problems import MARKED, Problem
from lab_llm.training.config import GRPOSettings, TeacherSettings
from lab_llm.training.distillation_config import DistillationConfig
from labrun.errors import LabError
from labrun.plan import Plan
from setups import setup_of


class Marked:
    """A data set whose responses mark their thinking, if they do, by <think>."""

    def __init__(self, *solutions: str | None) -> None:
        sets = CountdownDataset(CountdownConfig()).sets
        train = [
            dataclasses.replace(sets.train[i], id=f"p{i}", solution=solution)
            for i, solution in enumerate(solutions)
        ]
        self.sets = dataclasses.replace(sets, train=train, forms=MARKED)

    def plan(self, setup):
        return Plan(offers=self.sets)

    def load(self, ctx):
        return self.sets

    def fingerprint(self):
        return ""


def check(dataset, *, context="sibling", settings=None, **distillation):
    settings = settings or TeacherSettings()
    distilled = DistillationConfig(**distillation)
    setup = setup_of(dataset)
    return grpo_plan.plan(setup, settings, context=context, distillation=distilled).facts


def test_a_teacher_of_its_own_is_in_the_estimate():
    dataset = CountdownDataset(CountdownConfig())
    with_copy, without = (check(dataset, teacher=kind) for kind in ("frozen", "live"))
    name = "gpu_memory_gib, 1 process"
    assert "copies" in str(with_copy[name])
    assert "copies" not in str(without[name])


def test_a_run_that_only_evaluates_plans_no_training():
    settings = TeacherSettings(max_steps=0, teacher_offload=True)
    known = check(CountdownDataset(CountdownConfig()), settings=settings, teacher="frozen")
    trained = {"optimizer_steps": 0, "parameters": 265_536, "dtype": "float32"}
    assert known.items() >= trained.items()
    of_training = ("gib", "rollouts", "tokens_", "micro_batch", "master", "memory")
    assert [name for name in known if any(word in name for word in of_training)] == []


@pytest.mark.parametrize("name", ["beta", "entropy_coef"])
def test_terms_that_sdpos_loss_lacks_are_refused_by_key(name):
    dataset, settings = CountdownDataset(CountdownConfig()), GRPOSettings(**{name: 0.01})
    message = rf"^trainer\.{name}=0\.01: the loss of self-distillation .*set trainer\.{name}=0"
    with pytest.raises(LabError, match=message):
        check(dataset, settings=settings)
    grpo_plan.plan(setup_of(dataset), settings, context="sibling")


def test_an_evaluation_prompt_beyond_the_model_is_refused():
    marked = Marked("5+1")
    long = dataclasses.replace(
        marked.sets.train[0], id="e7", prompt=({"role": "user", "content": "7" * 1100},)
    )
    marked.sets = dataclasses.replace(marked.sets, evaluation={"ood": [long]})
    with pytest.raises(LabError, match=r"evaluation set 'ood': the prompt of e7 has 11\d\d tokens"):
        check(marked)


def test_a_template_without_its_places_is_refused_by_key():
    with pytest.raises(LabError, match=r"^trainer\.teacher_template: .*\{solution\} once, not 0"):
        check(
            CountdownDataset(CountdownConfig()),
            settings=TeacherSettings(teacher_template="{prompt}"),
        )


def test_a_model_that_does_not_think_has_no_solution_without_thinking():
    with pytest.raises(LabError, match=r"model 'tiny' does not mark its thinking.*no <think>"):
        check(Marked("5+1"), richness="without_thinking")
    check(Marked("5+1"), richness="answer")


def test_a_dataset_that_knows_its_own_thinking_needs_no_marks():
    facts = check(CountdownDataset(CountdownConfig()), richness="without_thinking")
    assert facts["parameters"] == 265_536


def test_solutions_without_marks_are_refused_where_their_thinking_is_to_go():
    how = {"context": "reference_solution", "richness": "without_thinking"}
    with pytest.raises(LabError, match="none of the dataset's 2 solutions has <think>"):
        check(Marked("5+1", None), **how)
    check(Marked("5+1", "<think>5</think>5+1"), **how)


def test_where_solutions_are_cut_off_only_so_much_must_fit():
    settings = GRPOSettings(max_completion_length=510)
    dataset = CountdownDataset(CountdownConfig())
    with pytest.raises(LabError, match="before the rollout it shows"):
        check(dataset, settings=settings)
    check(dataset, settings=settings, max_context_length=200)


def test_problems_without_a_solution_are_counted_and_the_first_is_named():
    problems = [Problem("a", (), "1", "s"), Problem("b", (), "1"), Problem("c", (), "1")]
    grpo_plan.check_solutions(problems[:1], key="k=v")
    with pytest.raises(LabError, match=r"k=v, but 2 of 3 training problems .*the first: b"):
        grpo_plan.check_solutions(problems, key="k=v")


@pytest.mark.parametrize(
    ("teacher", "deepspeed", "copies"),
    [
        ("live", "zero2", 0),
        ("frozen", "zero2", 1),
        ("ema", "", 1),  # float32 weights
        ("ema", "zero2", 2),
        ("ema", "zero3", 1),  # its remainder is in the machine's memory
    ],
)
def test_the_plan_counts_the_teachers_weights_and_an_averages_remainder(teacher, deepspeed, copies):
    config = DistillationConfig(teacher=teacher)
    assert copies_of(config, deepspeed=deepspeed).on_gpu(SHAPE) == copies


SHAPE = shape_of_model(PolicyConfig(name="Qwen/Qwen3-8B"))


def copies_of(distillation, **settings):
    model = PolicyConfig(name="Qwen/Qwen3-8B", dtype="bfloat16")
    settings = TeacherSettings(model=model, **settings)
    return TeacherCopies(settings, "answer", distillation)


def test_an_offloaded_teacher_takes_its_largest_weight_of_a_gpu():
    offloaded = copies_of(DistillationConfig(), deepspeed="zero2", teacher_offload=True)
    offloaded.check()
    # 151,936 x 4,096 of 8,190,735,360 weights; in bfloat16 all of them are 15.26 GiB
    assert offloaded.on_gpu(SHAPE) == pytest.approx(0.07598, rel=1e-3)
    assert offloaded.facts(SHAPE) == {
        "machine_memory_gib": "15.3 in every process (the teacher, offloaded)"
    }


def test_a_scoring_teacher_has_weights_of_its_own_where_it_is_copied():
    assert copies_of(None).on_gpu(SHAPE) == 0
    assert copies_of(None, teacher_copy_every=20).on_gpu(SHAPE) == 1
    spread = copies_of(None, teacher_copy_every=20, deepspeed="zero3")
    spread.check()
    assert spread.on_gpu(SHAPE) == 1  # of which ZeRO-3 leaves each GPU a share


@pytest.mark.parametrize(
    ("teacher", "settings", "refused"),
    [
        (
            "ema",
            {"teacher_copy_every": 2},
            r"^trainer\.teacher_copy_every=2 .*=ema is none",
        ),
        ("frozen", {"teacher_offload": True, "deepspeed": "zero3"}, r"share the teacher's weights"),
        (
            "live",
            {"teacher_offload": True},
            r"policy itself .*teacher=frozen or ema",
        ),
        (
            None,
            {"teacher_offload": True},
            r"policy itself .*teacher_copy_every=20$",
        ),
    ],
)
def test_a_teachers_weights_that_cannot_be_so_are_refused_in_one_line(teacher, settings, refused):
    distillation = None if teacher is None else DistillationConfig(teacher=teacher)
    with pytest.raises(LabError, match=refused) as caught:
        copies_of(distillation, **settings).check()
    assert "\n" not in str(caught.value)
