"""ZeRO-2 and ZeRO-3 by configuration, on the CPU: in one process, and in two against plain DDP."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
import warm
from lab_llm.training.config import GRPOSettings
from lab_llm.training.teacher_weights import REMAINDER, TEACHER_FILE
from lab_llm.training.zero import deepspeed_path
from labrun.attempts.ranks import Ending
from rank_cases import RLSD, SDPO, create
from rank_cases import words as rank_words
from safetensors.torch import load_file

pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("deepspeed"), reason="deepspeed is not installed (extra gpu)"
)
SMALL = ["plugin=rlrt", "max_steps=2", "save_every=1", "prompts_per_step=4", "num_generations=4"]
SMALL += ["micro_batch_size=8", "max_problems=2", "evaluate_every=0", "evaluate_start=false"]

OVER_RANKS = ["loss", "grad_norm", "entropy", "reward", "teacher_context_fraction"]


@pytest.mark.parametrize(("stage", "sampler"), [("zero2", "cpu"), ("zero3", "transformers")])
def test_a_run_under_zero_ends_with_its_model_and_checkpoints(lab, home, stage, sampler):
    done = lab("run", *SMALL, f"deepspeed={stage}", f"sampler={sampler}", "max_retries=0")
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = home.glob("rlrt-*")
    assert (run / "artifacts" / "model" / "model.safetensors").exists()
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["00000001", "00000002"]


def share_of_masters_moved(run):
    """Share of DeepSpeed's float32 masters of the matrices that steps 2 and 3 change."""

    def masters(step):
        states = run / "checkpoints" / f"{step:08}" / f"checkpoint-{step}" / f"global_step{step}"
        (file,) = states.glob("*zero_pp_rank_0_*_optim_states.pt")
        optimizer = torch.load(file, weights_only=False)["optimizer_state_dict"]
        return optimizer["single_partition_of_fp32_groups"][0]  # the group with weight decay

    before, after = masters(1), masters(3)
    assert before.dtype == torch.float32
    return (before != after).float().mean().item()


def test_masters_of_bfloat16_weights_move_as_float32_weights_do(lab, home):
    words = [*SMALL[:1], "max_steps=3", *SMALL[2:]]
    words += ["keep_checkpoints=3", "learning_rate=1e-5", "deepspeed=zero2"]
    moved = []
    for group in ("bfloat16", "float32"):
        done = lab("run", *words, f"model.dtype={group}", f"group={group}", "max_retries=0")
        assert done.returncode == 0, done.stdout + done.stderr
        (run,) = set(home.glob("rlrt-*")) - {run for run, _ in moved}
        moved.append((run, share_of_masters_moved(run)))
    (_, masters), (_, whole) = moved
    assert masters > 0.9
    assert masters == pytest.approx(whole, abs=0.02)


@pytest.mark.parametrize("stage", ["zero2", "zero3"])
def test_two_ranks_under_zero_train_as_two_ranks_without_it(start, two_ranks, tmp_path, stage):
    run = create(tmp_path, f"deepspeed={stage}")
    assert start(run) == Ending("done", 0)
    plain, found = two_ranks.series(), run.series()
    names = [name for name in plain if not name.startswith("time/")]
    assert {n: found[n][1] for n in names} == pytest.approx(
        {n: plain[n][1] for n in names}, rel=1e-4
    )
    weights = [torch.load(run.path / "out" / f"3-{rank}.pt", weights_only=True) for rank in (0, 1)]
    expected = torch.load(two_ranks.path / "out" / "3-0.pt", weights_only=True)
    for name, value in expected.items():
        assert torch.equal(weights[0][name], weights[1][name])
        # three steps of Adam at 1e-3; elements whose gradient is near 0 may go the other way
        assert (weights[0][name] - value).abs().mean() < 2e-5
    states = run.checkpoints / "00000003" / "checkpoint-3" / "global_step3"
    assert len(list(states.glob("zero_pp_rank_*_optim_states.pt"))) == 2


def test_sdpo_under_zero3_takes_the_steps_of_two_ranks_without_it(start, sdpo_two_ranks, tmp_path):
    run = create(tmp_path, *SDPO, "deepspeed=zero3")
    assert start(run) == Ending("done", 0)
    plain, found = sdpo_two_ranks.series(), run.series()
    names = [name for name in plain if not name.startswith("time/")]
    for step in (1, 2):
        assert {n: found[n][step] for n in names} == pytest.approx(
            {n: plain[n][step] for n in names}, rel=1e-4
        )


@pytest.fixture
def spread(tmp_path):
    """ZeRO-3 that spreads small weights as well: every one of the tiny model."""
    entries = json.loads(Path(deepspeed_path(GRPOSettings(deepspeed="zero3"))).read_text())
    entries["zero_optimization"]["stage3_param_persistence_threshold"] = 0
    path = tmp_path / "spread.json"
    path.write_text(json.dumps(entries))
    return f"deepspeed={path}"


def teacher_of(run, step):
    return load_file(run.checkpoints / f"{step:08d}" / TEACHER_FILE)


@pytest.mark.parametrize("teacher", ["frozen", "ema"])
def test_a_teacher_whose_weights_the_ranks_share_teaches_as_a_whole_one(
    start, spread, tmp_path, teacher
):
    """Each chunk gathers the head's weights: a rank with fewer chunks would wait for ever."""
    chunks = "trainer.distillation.chunk_size=5"
    words = [word.replace("teacher=ema", f"teacher={teacher}") for word in (*SDPO, chunks)]
    run, alone = create(tmp_path / "two", *words, spread), create(tmp_path / "one", *words)
    assert start(run) == Ending("done", 0)
    for rank in (0, 1):  # DeepSpeed keeps a layer that is called again soon: the head
        assert int((run.path / "out" / f"held-{rank}").read_text()) <= 296 * 64
    assert warm.run(rank_words(alone)[1:]) == 0
    assert (alone.path / "out" / "held-0").read_text() == "265536"
    one, two = alone.series(), run.series()
    for step in (1, 2):
        assert {n: two[n][step] for n in OVER_RANKS} == pytest.approx(
            {n: one[n][step] for n in OVER_RANKS}, rel=1e-4
        )
    if teacher == "ema":
        expected = teacher_of(alone, 1)
        assert teacher_of(run, 1).keys() == expected.keys()
        for name, value in teacher_of(run, 1).items():
            # half of a step of Adam at 1e-3; where the gradient is near 0 it may go the other way
            assert (value - expected[name]).abs().mean() < 1e-5


def test_a_spread_teacher_that_scores_rollouts_does_so_as_a_whole_one(start, spread, tmp_path):
    """The ranks' rollouts are of unequal length and number, and so are the teacher's passes."""
    run, alone = create(tmp_path / "two", *RLSD, spread), create(tmp_path / "one", *RLSD)
    assert start(run) == Ending("done", 0)
    for rank in (0, 1):
        assert int((run.path / "out" / f"held-{rank}").read_text()) <= 296 * 64
    assert warm.run(rank_words(alone)[1:]) == 0
    one, two = alone.series(), run.series()
    names = ["loss", "grad_norm", "teacher_scored_fraction", "asymmetry_correct"]
    assert one["teacher_scored_fraction"][1] == pytest.approx(8 / 12)
    for step in (1, 2):
        assert {n: two[n][step] for n in names} == pytest.approx(
            {n: one[n][step] for n in names}, rel=1e-4
        )
    expected = teacher_of(alone, 1)
    for name, value in teacher_of(run, 1).items():
        assert (value - expected[name]).abs().mean() < 2e-5


def test_an_averaged_teacher_that_is_spread_is_the_same_after_a_resume(start, spread, tmp_path):
    words = [*SDPO, "model.dtype=bfloat16", spread]
    whole, parted = (create(tmp_path / name, *words) for name in ("whole", "parted"))
    assert start(whole) == Ending("done", 0)
    assert start(parted, "1") == Ending("preempted", 75, "stopped at step 1 of 2")
    assert start(parted) == Ending("done", 0)
    files = [run.checkpoints / "00000002" / TEACHER_FILE for run in (whole, parted)]
    assert files[0].read_bytes() == files[1].read_bytes()
    saved = load_file(files[0])
    rests = [name for name in saved if name.startswith(REMAINDER) and "proj" in name]
    assert len(rests) == 4 * 7
    assert all(saved[name].any() for name in rests)
    untimed = [
        {n: values for n, values in run.series().items() if not n.startswith("time/")}
        for run in (whole, parted)
    ]
    assert untimed[0] == untimed[1]
