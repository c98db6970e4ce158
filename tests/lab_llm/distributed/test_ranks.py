"""Two processes on the CPU take the steps that one takes, and stop and go on together."""

import pytest
import torch
import warm
from lab_llm.distributed import ranks
from lab_llm.training.microbatches import check_rollouts
from lab_rlrt.config import RLRTConfig
from labrun import LabError
from labrun.attempts.ranks import Ending
from labrun.runs import run_dir
from rank_cases import SDPO, create, words

# of one optimizer step of several micro-batches
OVER_RANKS = ["loss", "grad_norm", "reward", "completion_length", "pass_rate", "epistemic_words"]
OVER_RANKS += ["uniform_group_fraction", "teacher_scored_fraction", "teacher_context/sibling"]
OVER_RANKS += ["asymmetry_correct", "weight_clip_fraction", "entropy", "ratio_clip_fraction"]
OVER_RANKS_SDPO = ["loss", "grad_norm", "entropy", "reward", "teacher_context_fraction"]


def untimed(run):
    return {k: v for k, v in run.series().items() if not k.startswith("time/")}


def moments(run, step):
    path = run.checkpoints / f"{step:08d}" / f"checkpoint-{step}" / "optimizer.pt"
    states = torch.load(path, weights_only=True)["state"]
    return torch.cat([state["exp_avg"].flatten() for state in states.values()])


def weights(run, step, rank):
    return torch.load(run.path / "out" / f"{step}-{rank}.pt", weights_only=True)


def test_two_ranks_have_the_gradient_of_one_process_on_the_same_rollouts(two_ranks, one_process):
    # Adam's first moment after one step is 0.1 times the clipped gradient
    one, two = moments(one_process, 1), moments(two_ranks, 1)
    assert one.abs().max() > 1e-3
    torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-7)


def test_metrics_of_two_ranks_are_over_all_rollouts(two_ranks, one_process):
    one, two = one_process.series(), two_ranks.series()
    assert 0 < one["teacher_scored_fraction"][1] < 1
    assert {k: two[k][1] for k in OVER_RANKS} == pytest.approx(
        {k: one[k][1] for k in OVER_RANKS}, rel=1e-4, abs=1e-7
    )


def test_sdpo_in_two_ranks_takes_the_steps_of_one_process(sdpo_two_ranks, tmp_path):
    run = create(tmp_path, *SDPO)
    assert warm.run(words(run)[1:]) == 0
    one, two = run.series(), sdpo_two_ranks.series()
    assert one["teacher_context_fraction"][1] == pytest.approx(11 / 12)
    for step in (1, 2):
        assert {k: two[k][step] for k in OVER_RANKS_SDPO} == pytest.approx(
            {k: one[k][step] for k in OVER_RANKS_SDPO}, rel=1e-4
        )
    first, second = moments(run, 1), moments(sdpo_two_ranks, 1)
    assert first.abs().max() > 1e-4
    torch.testing.assert_close(second, first, rtol=1e-3, atol=1e-7)


def test_all_ranks_have_the_same_weights_and_new_ones(two_ranks):
    first, second = weights(two_ranks, 3, 0), weights(two_ranks, 3, 1)
    assert all(torch.equal(first[name], second[name]) for name in first)
    earlier = weights(two_ranks, 2, 0)
    assert not any(torch.equal(first[name], earlier[name]) for name in first if "proj" in name)


def test_only_the_first_rank_writes_events(two_ranks):
    kinds = [event["kind"] for event in two_ranks.events()]
    assert (kinds.count("attempt"), kinds.count("metrics")) == (1, 3)
    scored = [
        (e["step"], e["score"]["task"], e["score"]["metric"])
        for e in two_ranks.events()
        if e["kind"] == "score"
    ]
    assert len(scored) == len(set(scored)) > 0


def test_a_stop_of_one_rank_stops_all_and_the_resumed_run_is_the_whole_one(
    start, two_ranks, tmp_path
):
    run = create(tmp_path)
    assert start(run, "1") == Ending("preempted", 75, "stopped at step 1 of 3")
    assert [path.name for path in run.checkpoints.iterdir()] == ["00000001"]
    assert start(run) == Ending("done", 0)
    assert untimed(run) == untimed(two_ranks)
    assert run.scores() == two_ranks.scores()
    whole = weights(two_ranks, 3, 0)
    assert all(torch.equal(whole[name], w) for name, w in weights(run, 3, 0).items())


def test_a_job_of_two_processes_is_one_run_with_one_status(lab_here, home):
    only_scored = ["plugin=rlrt", "max_steps=0", "max_problems=1", "accuracy.num_samples=1"]
    done = lab_here("run", *only_scored, "num_processes=2", "max_retries=0")
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = run_dir.all_runs(home)
    assert (run.status().state, run.status().exit_code) == ("done", 0)
    assert [event["kind"] for event in run.events()].count("attempt") == 1
    assert (run.artifacts / "completions" / "in_domain.jsonl").read_text().count("\n") == 1


def test_rollouts_that_processes_cannot_share_are_refused_by_name():
    settings = RLRTConfig(prompts_per_step=6, num_generations=4, micro_batch_size=8)
    check_rollouts(settings, 2)
    check_rollouts(settings, 3)
    with pytest.raises(LabError, match=r"5 processes cannot share 24 rollouts .* multiple of 5 "):
        check_rollouts(settings, 5)


def test_alone_a_value_is_all_there_is():
    assert ranks.gather_objects({"a": 1}) == [{"a": 1}]
    assert (ranks.any_rank(True), ranks.any_rank(False)) == (True, False)
    assert ranks.pooled({"reward": [1.0, 2.0], "time/step": [3.0]}) == {
        "reward": [1.0, 2.0],
        "time/step": [3.0],
    }
