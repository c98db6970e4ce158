"""Where all ranks of an evaluation meet to agree whether to stop."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from lab_llm.distributed import stopping
from lab_llm.distributed.stopping import stop_if_asked, stop_points
from lab_llm.evaluation.accuracy import AccuracyEvaluator
from lab_llm.evaluation.config import AccuracyConfig
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.policy import load_policy
from lab_llm.problems import Problem
from lab_llm.sampling import vllm_engine
from lab_llm.sampling.vllm_engine import VLLMEngine
from labrun.errors import PreemptedError
from labrun.runs.context import RunContext
from labrun.runs.run_dir import RunDir


def context(path, **place) -> RunContext:
    ctx = RunContext(
        run=RunDir(path), seed=0, attempt=0, devices=(), resume_from=None, keep_checkpoints=1
    )
    return replace(ctx, **place)


@pytest.mark.parametrize(("num_items", "met"), [(6, 1), (7, 2), (1, 1), (0, 0)])
def test_every_rank_meets_the_others_equally_often(tmp_path, monkeypatch, num_items, met):
    """Three ranks take batches of two in turn: of seven items the first has two, the others one."""
    meetings = []
    monkeypatch.setattr(stopping, "any_rank", lambda flag: meetings.append(flag) or False)
    for rank in range(3):
        meetings.clear()
        mine = range(2 * rank, num_items, 6)
        ctx = context(tmp_path, rank=rank, world_size=3)
        with stop_points(ctx, num_items, 2, work="sampling") as beat:
            for _ in mine:
                beat()
        assert len(meetings) == met


class FakeLLM:
    def generate(self, prompts, params, use_tqdm):
        return [SimpleNamespace(outputs=[SimpleNamespace(token_ids=[1, 2])]) for _ in prompts]


def test_ranks_that_share_one_vllm_meet_equally_often_though_the_first_alone_grades(
    tmp_path, monkeypatch
):
    meetings, largest = {0: 0, 1: 0}, []
    monkeypatch.setattr(vllm_engine, "_params", lambda *_: None)
    monkeypatch.setattr(stopping, "largest", lambda mine: largest.append(mine) or max(largest))
    policy = load_policy(PolicyConfig())
    evaluator = AccuracyEvaluator(AccuracyConfig(batch_size=4))
    problems = [Problem(str(i), (), "1") for i in range(10)]
    for rank in (0, 1):

        def met(flag, rank=rank):
            meetings[rank] += 1
            return flag

        monkeypatch.setattr(stopping, "any_rank", met)
        graded = evaluator._grade_share(
            context(tmp_path, rank=rank, world_size=2),
            policy,
            VLLMEngine(FakeLLM(), tensor_parallel=2),
            problems,
            [[1]] * 10,
            lambda problem, completion: 1.0,
            seed=0,
        )
        assert len(graded) == (10, 0)[rank]
    # 10 prompts are sampled 8 at a time, and graded 4 at a time
    assert meetings == {0: 2 + 3, 1: 2 + 3}
    assert largest == [3, 0]


def test_a_stop_of_another_rank_stops_this_one(tmp_path, monkeypatch):
    monkeypatch.setattr(stopping, "any_rank", lambda flag: True)
    ctx = context(tmp_path, rank=1, world_size=2)
    with pytest.raises(PreemptedError, match="stopped before step 3"):
        stop_if_asked(ctx, before="step 3")
    assert ctx.should_stop


def test_an_error_within_a_batch_is_not_hidden_by_a_meeting(tmp_path):
    ctx = context(tmp_path, should_stop=True)

    def failing():
        with stop_points(ctx, 9, 2, work="sampling"):
            raise KeyError

    with pytest.raises(KeyError):
        failing()
