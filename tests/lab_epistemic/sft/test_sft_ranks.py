"""Fine-tuning in two processes, plainly and under ZeRO, takes the steps of one."""

import importlib.util

import pytest
import warm
from forked import start as forked
from lab_epistemic.sft.config import SelfSFTConfig
from lab_epistemic.sft.pairs import of_run
from lab_llm.datasets.countdown import CountdownDataset
from lab_llm.datasets.countdown_config import CountdownConfig
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.policy import load_policy
from lab_llm.text.prompts import COUNTDOWN_TEMPLATE
from labrun.attempts import ranks
from labrun.attempts.ranks import Ending
from labrun.config.experiments import compose
from labrun.runs import run_dir
from labrun.runs.context import RunContext
from rank_cases import words
from safetensors.torch import load_file

# 8 responses a step: two ranks have 4 each, in two micro-batches
SMALL = ["plugin=epistemic", "method=sft_unguided", "seed=1", "max_steps=3", "save_every=1"]
SMALL += ["trainer.batch_size=8", "trainer.micro_batch_size=2", "keep_checkpoints=3"]
SMALL += ["dataset.train_size=16", "evaluate_start=false", "evaluate_every=0", "max_problems=2"]
SMALL += ["verbalization.num_samples=1", "trainer.learning_rate=1e-3"]
NAMES = ("loss", "grad_norm", "learning_rate")
under_zero = pytest.mark.skipif(
    not importlib.util.find_spec("deepspeed"), reason="deepspeed is not installed (extra gpu)"
)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """The sets that all runs here take."""
    run = run_dir.create(compose(["plugin=rlrt"]), root=tmp_path_factory.mktemp("pairs"))
    ctx = RunContext(run=run, seed=1, attempt=0, devices=(), resume_from=None, keep_checkpoints=1)
    sets = CountdownDataset(CountdownConfig(train_size=16)).sets
    config = SelfSFTConfig(num_probes=4)
    of_run(ctx, load_policy(PolicyConfig()), sets, config, template=COUNTDOWN_TEMPLATE)
    return str(ctx.artifact_path("sft_pairs.jsonl"))


def create(root, pairs, *settings):
    run = run_dir.create(compose([*SMALL, f"trainer.pairs={pairs}", *settings]), root=root)
    (run.path / "out").mkdir()
    return run


def in_two(run, *stop_at) -> Ending:
    forked.have_a_server()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("HF_HUB_OFFLINE", "1")
        return ranks.launch(words(run, *stop_at), 2)


@pytest.fixture(scope="module")
def alone(tmp_path_factory, pairs):
    """A whole run in one process; read it only."""
    run = create(tmp_path_factory.mktemp("one"), pairs)
    assert warm.run(words(run)[1:]) == 0
    return run


def untimed(run):
    return {k: v for k, v in run.series().items() if not k.startswith("time/")}


def weights(run):
    return load_file(run.artifacts / "model" / "model.safetensors")


@pytest.mark.parametrize(
    "deepspeed",
    ["", pytest.param("zero2", marks=under_zero), pytest.param("zero3", marks=under_zero)],
)
def test_two_ranks_take_the_steps_of_one_process(alone, pairs, tmp_path, deepspeed):
    run = create(tmp_path, pairs, f"trainer.deepspeed={deepspeed}")
    assert in_two(run) == Ending("done", 0)
    one, two = alone.series(), run.series()
    for name in NAMES:
        assert two[name] == pytest.approx(one[name], rel=1e-4)
    expected = weights(alone)
    for name, value in weights(run).items():
        # three steps of Adam at 1e-3; elements whose gradient is near 0 may go the other way
        assert (value - expected[name]).abs().mean() < 2e-5


@under_zero
@pytest.mark.parametrize("stage", ["zero2", "zero3"])
def test_a_run_under_zero_that_stops_and_goes_on_ends_with_the_same_numbers(pairs, tmp_path, stage):
    whole, parted = (create(tmp_path / n, pairs, f"deepspeed={stage}") for n in ("a", "b"))
    assert in_two(whole) == Ending("done", 0)
    assert in_two(parted, "1") == Ending("preempted", 75, "stopped at step 1 of 3")
    assert in_two(parted) == Ending("done", 0)
    assert untimed(parted) == untimed(whole)
    assert all((weights(parted)[n] == value).all() for n, value in weights(whole).items())
