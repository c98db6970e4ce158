"""A vLLM that sleeps during the update wakes for an evaluation and sleeps again after it."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.policy import load_policy
from lab_llm.training.config import GRPOSettings
from lab_llm.training.engines import ENGINES
from labrun.runs.context import RunContext
from labrun.runs.run_dir import RunDir


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
        accelerator=SimpleNamespace(process_index=0),
        ctx=SimpleNamespace(
            heartbeat=lambda: stages.append("beat"),
            progress=lambda stage: stages.append(stage),
            derive_seed=lambda *names: 1,
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


def drawn_after_begin(seed, rank):
    """What a rank draws from the generators that vLLM reads, once its engine is there."""
    ctx = RunContext(
        run=RunDir(Path("run")),
        seed=seed,
        attempt=0,
        devices=(),
        resume_from=None,
        keep_checkpoints=1,
    )
    trainer = SimpleNamespace(
        vllm_generation=Generation(), accelerator=SimpleNamespace(process_index=rank), ctx=ctx
    )
    np.random.seed(0)  # as vLLM does
    torch.manual_seed(0)
    ENGINES["vllm"](trainer, GRPOSettings(sampler="vllm", vllm_tensor_parallel_size=2)).begin()
    return np.random.random(), torch.rand(()).item()


def test_rollouts_of_vllm_are_drawn_by_the_runs_seed_and_alike_where_ranks_share_an_engine():
    first, neighbour, other, again = (
        drawn_after_begin(seed, rank) for seed, rank in ((3, 0), (3, 1), (3, 2), (4, 0))
    )
    assert first == neighbour
    for one, two in zip(first, other, strict=True):
        assert one != two
    for one, two in zip(first, again, strict=True):
        assert one != two
