"""A teacher with weights of its own that scores rollouts: its scores, its copies, a resume."""

import dataclasses

import pytest
import torch
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.policy import load_policy
from lab_llm.sampling.scorer import completion_logprobs
from lab_llm.training.offloading import offload
from lab_llm.training.run import train
from lab_llm.training.teacher_scoring import token_logprobs
from lab_llm.training.teacher_weights import TEACHER_FILE, frozen_copy
from lab_rlrt.config import RLRTConfig
from lab_rlrt.methods import make_objective
from labrun import PreemptedError
from labrun.config.components import build
from labrun.config.experiments import compose
from labrun.runs import run_dir
from labrun.runs.context import RunContext
from safetensors.torch import load_file

RLSD = RLRTConfig(
    credit="rlsd",
    teacher_context="answer",
    max_steps=2,
    prompts_per_step=4,
    num_generations=4,
    micro_batch_size=16,
    save_every=1,
    evaluate_start=False,
    learning_rate=1e-3,
)


@pytest.fixture(scope="module")
def sets():
    return build(compose(["plugin=rlrt"])).dataset.sets


@pytest.fixture(scope="module")
def model():
    return load_policy(PolicyConfig()).model.eval()


def trained(root, sets, config):
    run = run_dir.create(compose(["plugin=rlrt", "method=rlsd", "seed=1"]), root=root)
    ctx = RunContext(run=run, seed=1, attempt=0, devices=(), resume_from=None, keep_checkpoints=9)
    train(ctx, sets, config, make_objective(config))
    return ctx


def weights(ctx):
    return load_file(ctx.run.artifacts / "model" / "model.safetensors")


def test_a_teacher_is_copied_in_evaluation_mode_and_takes_no_gradient():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.5)).train()
    copied = frozen_copy(model)
    assert not any(part.training for part in copied.modules())
    assert not any(weight.requires_grad for weight in copied.parameters())
    assert model.training
    assert all(weight.requires_grad for weight in model.parameters())


def test_a_teacher_of_its_own_scores_as_the_decoder_does(model):
    prompts, completions = [[5, 6, 7], [9, 8]], [[11, 12], [13, 14]]
    expected = completion_logprobs(
        model, prompts, completions, width=2, batch_size=2, pad_token_id=0, temperature=0.7
    )
    ids = torch.tensor([[5, 6, 7, 11, 12], [0, 9, 8, 13, 14]])
    mask = (ids > 0).long()
    with torch.no_grad():
        found = token_logprobs(model, ids, mask, 2, temperature=0.7)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_an_offloaded_model_gives_the_same_scores_and_brings_one_layer_at_a_time(model):
    ids = torch.arange(20, 36).view(2, 8)
    mask, seen = torch.ones_like(ids), []
    with torch.no_grad():
        expected = token_logprobs(model, ids, mask, 4, temperature=1.0)
        moved = offload(load_policy(PolicyConfig()).model.eval(), torch.device("cpu"))
        resting = {name: p.data_ptr() for name, p in moved.named_parameters()}

        def look(layer, *_):
            at = {name: p.data_ptr() for name, p in moved.named_parameters()}
            seen.append({name for name in at if at[name] != resting[name]})

        for layer in moved.modules():
            if any(True for _ in layer.parameters(recurse=False)):
                layer.register_forward_pre_hook(look)
        found = token_logprobs(moved, ids, mask, 4, temperature=1.0)
    assert torch.equal(found, expected)
    assert {name: p.data_ptr() for name, p in moved.named_parameters()} == resting
    assert {len(names) for names in seen} == {1}
    assert set.union(*seen) == set(resting)


def test_rlsds_copied_teacher_is_the_same_after_a_resume(tmp_path, sets):
    config = dataclasses.replace(RLSD, teacher_copy_every=1)
    whole = trained(tmp_path / "whole", sets, config)
    first = load_file(whole.run.checkpoints / "00000001" / TEACHER_FILE)
    start = load_policy(config.model).model.state_dict()
    assert not torch.equal(first["model.norm.weight"], start["model.norm.weight"])
    parted = dataclasses.replace(
        whole, run=run_dir.create(whole.run.experiment(), root=tmp_path / "parted")
    )

    def stopping(problem, completion):
        parted.should_stop = True
        return sets.verify(problem, completion)

    interrupted = dataclasses.replace(sets, verify=stopping)
    with pytest.raises(PreemptedError, match="stopped at step 1 of 2"):
        train(parted, interrupted, config, make_objective(config))
    parted.should_stop = False
    parted.resume_from = parted.run.checkpoints / "00000001"
    train(parted, sets, config, make_objective(config))
    assert weights(whole).keys() == weights(parted).keys()
    assert all(torch.equal(weights(whole)[n], w) for n, w in weights(parted).items())


def test_a_teacher_that_is_never_copied_within_the_run_is_the_model_at_the_start(tmp_path, sets):
    plain, offloaded, live = (
        trained(tmp_path / name, sets, dataclasses.replace(RLSD, **settings))
        for name, settings in (
            ("plain", {"teacher_copy_every": 9}),
            ("offloaded", {"teacher_copy_every": 9, "teacher_offload": True}),
            ("live", {}),
        )
    )
    saved = load_file(plain.run.checkpoints / "00000002" / TEACHER_FILE)
    start = load_policy(RLSD.model).model.state_dict()
    assert all(torch.equal(value, start[name]) for name, value in saved.items())
    assert all(torch.equal(weights(plain)[n], w) for n, w in weights(offloaded).items())
    loss = [ctx.run.series()["loss"] for ctx in (plain, live)]
    assert loss[0][1] == pytest.approx(loss[1][1], rel=1e-4)  # the live one is at the start, too
    assert loss[0][2] != pytest.approx(loss[1][2], rel=1e-4)
