"""What is planned of an evaluation that opens a vLLM beside the training."""

import importlib.util
from functools import partial

import pytest
from lab_epistemic.richness.config import RichnessConfig
from lab_epistemic.richness.evaluator import RichnessEvaluator
from lab_epistemic.verbalization.config import VerbalizationConfig
from lab_epistemic.verbalization.evaluator import VerbalizationEvaluator
from lab_llm.evaluation.accuracy import AccuracyEvaluator
from lab_llm.evaluation.config import AccuracyConfig
from lab_llm.planning import evaluations, gpu_memory
from lab_llm.planning.estimates import GIB
from lab_llm.planning.shapes import shape_of_model
from lab_llm.planning.sizes import NO_TEACHER, kept_bytes
from lab_llm.policy.config import PolicyConfig
from lab_llm.training.config import GRPOSettings
from labrun import LabError, Setup

MODEL = PolicyConfig(name="Qwen/Qwen3-4B-Base", dtype="bfloat16")
SHAPE = shape_of_model(MODEL)
PARAMETERS = 4_022_468_096


def setup(engine="vllm", **sampling):
    config = AccuracyConfig(engine=engine, max_new_tokens=16384, **sampling)
    return Setup(evaluators={"accuracy": AccuracyEvaluator(config)}, num_processes=8)


def planned(setup, *, kept_gib, when="training"):
    return evaluations.facts(setup, SHAPE, kept=kept_gib * GIB, dtype="bfloat16", when=when)


def test_a_second_vllm_needs_its_share_beside_what_the_training_keeps():
    # weights 7.49 GiB, 16,384 tokens of 2*36*8*128*2 bytes 2.25, work 1; 30 / (1 - .5)
    assert planned(setup(), kept_gib=30) == {
        "gpu_memory_gib, evaluation accuracy": "60 (the process keeps 30; vLLM takes a share of "
        "0.5 and needs 10.7)"
    }
    assert planned(setup(), kept_gib=1)["gpu_memory_gib, evaluation accuracy"].startswith("21.5 (")


def test_an_evaluation_that_opens_no_vllm_takes_nothing():
    assert planned(setup("cpu"), kept_gib=30) == {}
    stored = VerbalizationEvaluator(VerbalizationConfig(engine="vllm", completions="runs/x"))
    assert planned(Setup(evaluators={"verbalization": stored}), kept_gib=30) == {}


@pytest.mark.parametrize(
    ("steps", "starts", "planned_of"),
    [
        (2, True, {"accuracy at the start": 15}),  # the others share the training's vLLM
        (2, False, {}),
        (0, True, {"accuracy": 7.49, "richness": 7.49}),  # nothing to share; in the model's own
    ],
)
def test_only_what_the_trainings_vllm_cannot_sample_opens_one(steps, starts, planned_of):
    settings = GRPOSettings(
        model=MODEL, sampler="vllm", max_steps=steps, evaluate_start=starts, evaluate_every=1
    )
    last = RichnessEvaluator(RichnessConfig(engine="vllm"))  # at the end alone
    evaluators = {**setup().evaluators, "richness": last}
    known = gpu_memory.facts(
        Setup(evaluators=evaluators), settings, NO_TEACHER, policy=None, sets=None
    )
    kept = {
        name.partition(", evaluation ")[2]: float(str(fact).partition("keeps ")[2].split(";")[0])
        for name, fact in known.items()
        if ", evaluation " in name
    }
    assert kept == planned_of


def test_auto_is_planned_as_vllm_for_a_job_with_gpus_where_none_is_here():
    evaluators = setup("auto").evaluators
    assert planned(Setup(evaluators=evaluators), kept_gib=30) == {}
    assert planned(Setup(evaluators=evaluators, num_gpus=8), kept_gib=30) == (
        planned(setup(), kept_gib=30)
    )


@pytest.mark.parametrize(
    ("when", "advice"),
    [
        ("training", r"engine=cpu, or a vLLM in the training process, which evaluations share$"),
        ("start", r"engine=cpu, or trainer\.evaluate_start=false$"),
        ("alone", r"engine=cpu$"),
    ],
)
def test_a_refusal_says_what_would_leave_more_room(cards, when, advice):
    cards(40)
    with pytest.raises(LabError, match=advice):
        planned(setup(), kept_gib=30, when=when)


@pytest.mark.skipif(bool(importlib.util.find_spec("vllm")), reason="vllm is installed")
@pytest.mark.parametrize("kind", ["accuracy", "richness"])
def test_an_engine_that_is_not_installed_is_missing_and_the_plan_goes_on(kind):
    chosen = {
        "accuracy": AccuracyEvaluator(AccuracyConfig(engine="vllm")),
        "richness": RichnessEvaluator(RichnessConfig(engine="vllm")),
    }
    plan = chosen[kind].plan(Setup())
    assert plan.missing == [
        f"evaluator.{kind}.engine=vllm, but vllm is not installed; `pip install 'labrun[gpu]'`, or "
        f"evaluator.{kind}.engine=auto"
    ]
    assert plan.facts


@pytest.mark.parametrize(
    ("gib", "refused"),
    [(80, ""), (40, r"30 that the process keeps; take evaluator"), (50, r"set it to 0\.40, take")],
)
def test_a_gpu_without_room_for_both_is_refused_in_one_line(cards, gib, refused):
    cards(gib)
    if not refused:
        planned(setup(), kept_gib=30)
        return
    with pytest.raises(LabError, match=refused) as caught:
        planned(setup(), kept_gib=30)
    assert str(caught.value).startswith("evaluator.accuracy.vllm_gpu_memory_utilization=0.5: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("deepspeed", "every", "bytes_of_a_weight"),
    [
        ("zero2", 0, 2),  # before and after it: the weights
        ("zero2", 10, 2 + 4 / 8 + 12 / 8),  # gradients and AdamW's part are shared
        ("zero3", 10, (2 + 4 + 12) / 8 + 2),  # the weights too, and gathered
    ],
)
def test_the_training_keeps_weights_and_between_steps_its_optimizer(
    deepspeed, every, bytes_of_a_weight
):
    settings = GRPOSettings(model=MODEL, deepspeed=deepspeed, evaluate_every=every)
    kept = kept_bytes(settings, SHAPE, Setup(num_processes=8), teacher=NO_TEACHER)
    assert kept == pytest.approx(bytes_of_a_weight * PARAMETERS)


def test_a_run_that_only_evaluates_keeps_the_weights_in_the_models_own_precision():
    trained, scored = (GRPOSettings(model=MODEL, max_steps=steps) for steps in (2, 0))
    kept = partial(kept_bytes, shape=SHAPE, setup=Setup(), teacher=NO_TEACHER)
    assert (kept(trained), kept(scored)) == (4 * PARAMETERS, 2 * PARAMETERS)


def test_a_vllm_of_each_process_that_spreads_itself_is_refused_before_the_run():
    asked = setup("auto", vllm_tensor_parallel=2)
    with pytest.raises(LabError, match=r"^evaluator\.accuracy\.vllm_tensor_parallel=2: .* use 1$"):
        asked.evaluators["accuracy"].plan(asked)


def test_a_temperature_that_vllm_does_not_take_is_refused_before_the_run():
    shown = partial(evaluations.facts, shape=SHAPE, kept=0.0, dtype="bfloat16", when="alone")
    with pytest.raises(LabError, match=r"^evaluator\.accuracy\.temperature=2\.5: vLLM takes"):
        shown(setup("vllm", temperature=2.5))
    assert shown(setup("cpu", temperature=2.5)) == {}


def test_a_temperature_that_the_trainings_vllm_does_not_take_is_refused_where_it_is_shared():
    settings = GRPOSettings(model=MODEL, sampler="vllm", evaluate_start=False)

    def planned(engine):
        asked = setup(engine, temperature=2.5)
        gpu_memory.facts(asked, settings, NO_TEACHER, policy=None, sets=None)

    for engine in ("auto", "vllm"):
        with pytest.raises(LabError, match=r"^evaluator\.accuracy\.temperature=2\.5: vLLM takes"):
            planned(engine)
    planned("cpu")
