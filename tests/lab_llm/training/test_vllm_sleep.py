"""A vLLM that sleeps during the update wakes for an evaluation and sleeps again after it."""

from types import SimpleNamespace

import pytest
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.policy import load_policy
from lab_llm.training.config import GRPOSettings
from lab_llm.training.engines import ENGINES


class Generation:
    """TRL's `VLLMGeneration`, as far as an evaluation meets it; notes what is done to vLLM."""

    def __init__(self):
        self.done = []
        self.llm = SimpleNamespace(
            llm_engine=SimpleNamespace(step=list),
            wake_up=lambda tags: self.done.append(f"wake {tags[0]}"),
            sleep=lambda level: self.done.append(f"sleep {level}"),
        )
        self._llm_weights_sleeping = True

    def _iter_named_params(self):
        yield "weight", 1.0

    def sync_weights(self):
        assert list(self._iter_named_params()) == [("weight", 1.0)]
        self.done.append("sync")
        self._llm_weights_sleeping = False


@pytest.mark.parametrize(
    ("sleeps", "held", "rested"),
    [(True, ["sync", "wake kv_cache"], ["sleep 2"]), (False, ["sync"], [])],
)
def test_an_evaluation_wakes_vllm_with_the_present_weights_and_lets_it_sleep(sleeps, held, rested):
    generation, stages = Generation(), []
    trainer = SimpleNamespace(
        vllm_generation=generation,
        state=SimpleNamespace(global_step=7),
        ctx=SimpleNamespace(
            heartbeat=lambda: stages.append("beat"), progress=lambda stage: stages.append(stage)
        ),
    )
    settings = GRPOSettings(
        sampler="vllm", vllm_enable_sleep_mode=sleeps, vllm_tensor_parallel_size=2
    )
    engine = ENGINES["vllm"](trainer, settings)
    engine.begin()
    policy = engine.holding(load_policy(PolicyConfig()))
    assert policy.engine.llm is generation.llm
    assert policy.engine.tensor_parallel == 2
    assert (generation.done, trainer._last_loaded_step) == (held, 7)
    assert stages == ["sync", "beat", "sample"]
    engine.rest()
    assert generation.done[len(held) :] == rested
    assert generation._llm_weights_sleeping == sleeps  # TRL then sends them before it samples
