"""The memory of supervised fine-tuning against values worked out by hand."""

import pytest
from lab_epistemic.richness.config import RichnessConfig
from lab_epistemic.richness.evaluator import RichnessEvaluator
from lab_llm.datasets.countdown import CountdownDataset
from lab_llm.datasets.countdown_config import CountdownConfig
from lab_llm.planning import fine_tuning
from lab_llm.policy.config import PolicyConfig
from lab_llm.sampling.config import SamplingConfig
from lab_llm.training.config import TrainedWeights
from lab_llm.training.warm_start.config import WarmStartConfig
from lab_llm.warm_start import WarmStart
from labrun import LabError, Setup

DISTILLED = PolicyConfig(name="deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", dtype="bfloat16")


def planned(deepspeed="", processes=1, evaluators=None, **settings):
    chosen = TrainedWeights(
        model=DISTILLED, gradient_checkpointing=True, deepspeed=deepspeed, **settings
    )
    return fine_tuning.facts(
        chosen,
        Setup(evaluators=evaluators or {}, num_processes=processes),
        micro_batch_sizes={processes: 1},
        max_completion_length=32768,
        max_steps=20,
        evaluate_every=0,
        samples_by=SamplingConfig(engine="vllm"),
    )


def test_the_plan_of_float32_weights_of_7_billion_by_hand():
    known = planned()
    # 7,615,616,512 weights: 4 bytes each, as much for gradients, twice for AdamW: 113.5 GiB.
    # A token: 28 inputs of 3584 in float32, and one layer of
    # 26*3584 + 2*(4*3584 + 4*18944) = 273,408 bytes; 32,768 of them take 20.6 GiB.
    # The head: 4 * (4096*32768 + 3584*152064) bytes, 2.53 GiB.
    assert known["gpu_memory_gib, 1 process"] == (
        "137 (weights 28.4, gradients 28.4, optimizer 56.7, activations 20.6, head 2.53)"
    )
    # vLLM, in bfloat16: 14.2 of weights, 32,768 tokens of 2*28*4*128*2 bytes (1.75), work 1.
    # The process keeps its float32 weights, in the other half: 28.4 / 0.5
    assert known["gpu_memory_gib, sampling"] == (
        "56.7 (the process keeps 28.4; vLLM takes a share of 0.5 and needs 16.9)"
    )


def test_zero_divides_the_plan_and_says_what_is_gathered():
    two, three = (planned(f"zero{stage}", processes=8) for stage in (2, 3))
    # of 7.62 billion weights, bfloat16: 14.2 GiB; 4 and 12 bytes a weight more, over 8: 14.2
    assert (
        str(two["gpu_memory_gib, 8 processes"])
        .split(" (")[1]
        .startswith("weights 14.2, gradients 3.55, optimizer 10.6, ")
    )
    assert (
        str(three["gpu_memory_gib, 8 processes"])
        .split(" (")[1]
        .startswith("weights 1.77, gradients 3.55, optimizer 10.6, ")
    )
    assert three["gathered_gib"] == "14.2 in every process, to save, to sample and to evaluate"
    assert "gathered_gib" not in two


def test_an_evaluation_that_opens_a_vllm_is_planned_beside_the_weights():
    evaluator = RichnessEvaluator(RichnessConfig(engine="vllm", max_new_tokens=32768))
    known = planned(evaluators={"richness": evaluator})
    # three responses and their prompt at most: 98,304 tokens of 2*28*4*128*2 bytes, 5.25 GiB
    assert known["gpu_memory_gib, evaluation richness"] == (
        "56.7 (the process keeps 28.4; vLLM takes a share of 0.5 and needs 20.4)"
    )


@pytest.mark.parametrize(("gib", "refused"), [(140, False), (80, True)])
def test_a_gpu_that_cannot_hold_weights_and_optimizer_is_refused_with_numbers(cards, gib, refused):
    cards(gib)
    if not refused:
        planned()
        return
    with pytest.raises(LabError) as caught:
        planned()
    assert str(caught.value) == (
        "the training keeps 113 GiB on each GPU (weights 28.4, gradients 28.4, optimizer 56.7), "
        "and this one has 80; with activations it needs 137: take one of 137 GiB or more, or a "
        "smaller model"
    )


def test_a_gpu_that_is_asked_for_and_cannot_hold_the_training_is_refused():
    settings = TrainedWeights(model=DISTILLED)
    with pytest.raises(LabError, match=r", and resources\.min_gpu_memory_gib asks for 80; with"):
        fine_tuning.facts(
            settings,
            Setup(num_gpus=1, min_gpu_memory_gib=80),
            micro_batch_sizes={1: 1},
            max_completion_length=64,
            max_steps=1,
            evaluate_every=0,
            samples_by=None,
        )


def test_the_shipped_model_is_planned_from_its_files_and_an_unknown_one_not():
    how = {"micro_batch_sizes": {1: 2}, "max_completion_length": 64, "samples_by": None}
    how |= {"max_steps": 1, "evaluate_every": 0}
    known = fine_tuning.facts(TrainedWeights(), Setup(), **how)
    assert known["parameters"] == 265_536
    assert set(known) == {"parameters", "gpu_memory_gib, 1 process"}
    far = TrainedWeights(model=PolicyConfig(name="nobody/nothing"))
    assert fine_tuning.facts(far, Setup(), **how) == {}


def test_the_warm_starts_plan_is_of_the_tiny_model():
    setup = Setup(dataset=CountdownDataset(CountdownConfig()))
    facts = WarmStart(WarmStartConfig(batch_size=2)).plan(setup).facts
    # the shipped tokenizer has 296 of at most 300 tokens: 265,536 and 4 rows of 64
    assert facts["parameters"] == "at most 265,792"
    # 2 * 1024 tokens, 4 layers, of each 4 * (6*64 + 2*(128 + 64) + 4*128 + 4*192) bytes: 0.0625 GiB
    assert "activations 0.0625" in str(facts["gpu_memory_gib"])
