"""Fine-tuning on the shipped model: what the loss sees, in which order, and what a resume gives."""

import dataclasses
from pathlib import Path

import pytest
import torch
from lab_epistemic.sft.config import SelfSFTConfig
from lab_epistemic.sft.file import of_kind, read
from lab_epistemic.sft.pairs import of_run
from lab_epistemic.sft.trainer import SelfSFTTrainer
from lab_epistemic.sft.transformers_trainer import (
    build_trainer,
    response_order,
    rows_of,
    trl_config,
)
from lab_llm.datasets.countdown import CountdownDataset
from lab_llm.datasets.countdown_config import CountdownConfig
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.policy import load_policy
from lab_llm.text.prompts import COUNTDOWN_TEMPLATE, TEMPLATE_FILE, encode
from labrun import DivergedError, LabError, Plan, PreemptedError
from labrun.config.experiments import compose
from labrun.runs import run_dir
from labrun.runs.context import RunContext

SMALL = SelfSFTConfig(
    num_probes=4,
    max_steps=4,
    batch_size=4,
    micro_batch_size=4,
    learning_rate=1e-3,
    save_every=1,
    evaluate_start=False,
)


class Evaluator:
    """Keeps what it is called with: the sum of the embedding's weights."""

    def __init__(self):
        self.calls = []

    def plan(self, setup):
        return Plan()

    def evaluate(self, ctx, model, data):
        weight = model.model.get_input_embeddings().weight
        self.calls.append(weight.sum().item())
        return []


def context(root, resume_from=None, evaluators=()) -> RunContext:
    run = run_dir.create(compose(["plugin=rlrt", "seed=1"]), root=root)
    return RunContext(
        run=run,
        seed=1,
        attempt=0,
        devices=(),
        resume_from=resume_from,
        keep_checkpoints=9,
        evaluators=evaluators,
    )


@pytest.fixture(scope="module")
def sets():
    return CountdownDataset(CountdownConfig(train_size=16)).sets


@pytest.fixture(scope="module")
def pairs(tmp_path_factory, sets):
    """The path of the sets that all trainers here take."""
    ctx = context(tmp_path_factory.mktemp("pairs"))
    of_run(ctx, load_policy(PolicyConfig()), sets, SMALL, template=COUNTDOWN_TEMPLATE)
    return str(ctx.artifact_path("sft_pairs.jsonl"))


def trainer_of(ctx, sets, pairs, kind="unguided", **settings):
    config = dataclasses.replace(SMALL, pairs=pairs, **settings)
    policy = load_policy(config.model)
    responses = of_run(ctx, policy, sets, config, template=COUNTDOWN_TEMPLATE)
    return build_trainer(ctx, policy, sets, config, of_kind(responses, kind)), responses


def batches(trainer):
    return list(trainer.get_train_dataloader())


def test_labels_are_the_responses_tokens_with_the_end_token_and_no_prompt(tmp_path, sets, pairs):
    trainer, responses = trainer_of(context(tmp_path), sets, pairs)
    tokenizer = trainer.policy.tokenizer
    unguided = of_kind(responses, "unguided")
    rows = {}
    for batch in batches(trainer):
        for ids, labels, mask in zip(
            batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True
        ):
            learned = labels != -100
            assert not (learned & (mask == 0)).any()
            rows[tuple(ids[mask == 1].tolist())] = tuple(labels[learned].tolist())
    assert len(rows) == len(unguided)
    for one in unguided:
        completion = tokenizer(one.completion, add_special_tokens=False)["input_ids"]
        expected = (*completion, tokenizer.eos_token_id)
        prompt = encode(tokenizer, one.prompt)
        assert rows[(*prompt, *one.token_ids)] == one.token_ids == expected


def test_the_loss_is_the_mean_cross_entropy_of_a_steps_response_tokens(tmp_path, sets, pairs):
    config = dataclasses.replace(SMALL, pairs=pairs)
    ctx = context(tmp_path)
    SelfSFTTrainer(config).fit(ctx, sets)
    trainer, _ = trainer_of(context(tmp_path / "again"), sets, pairs)
    batch = batches(trainer)[0]
    logits = trainer.policy.model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    logprobs, labels = logits[:, :-1].log_softmax(-1), batch["labels"][:, 1:]
    of_label = logprobs.gather(2, labels.clamp(min=0)[..., None])[..., 0]
    expected = -of_label[labels != -100].mean().item()
    assert ctx.run.series()["loss"][1] == pytest.approx(expected, rel=1e-5)


def step_gradient(trainer):
    """What one step's micro-batches accumulate, before clipping."""
    parts = trainer.args.gradient_accumulation_steps
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = parts
    loaded, size = trainer.get_batch_samples(iter(trainer.get_train_dataloader()), parts, "cpu")
    for inputs in loaded:
        trainer.training_step(trainer.model, inputs, size)
    return torch.cat([p.grad.flatten() for p in trainer.model.parameters()])


def test_micro_batches_leave_the_steps_gradient_as_it_is(tmp_path, sets, pairs):
    whole, parts = (
        step_gradient(trainer_of(context(tmp_path / str(n)), sets, pairs, micro_batch_size=n)[0])
        for n in (4, 1)
    )
    assert whole.norm() > 0.01
    assert (whole - parts).norm() < 1e-4 * whole.norm()


def test_every_epoch_is_a_fresh_permutation(tmp_path):
    ctx = context(tmp_path)
    order = response_order(ctx, 6, dataclasses.replace(SMALL, max_steps=4, batch_size=4))
    assert len(order) == 16
    assert sorted(order[:6]) == sorted(order[6:12]) == list(range(6))
    assert order[:6] != order[6:12]
    assert set(order[12:]) < set(range(6))


def test_both_arms_take_their_own_responses_to_the_same_problems_at_a_step(tmp_path, sets, pairs):
    arms = {}
    for kind in ("unguided", "guided"):
        ctx = context(tmp_path / kind)
        trainer, responses = trainer_of(ctx, sets, pairs, kind)
        mine, order = of_kind(responses, kind), iter(trainer.order)
        arms[kind] = []
        for batch in batches(trainer):
            for ids in batch["input_ids"].tolist():
                one = mine[next(order)]
                prompt = encode(trainer.policy.tokenizer, one.prompt)
                assert ids[: len(prompt) + one.tokens] == [*prompt, *one.token_ids]
                arms[kind].append(one.id)
    assert len(arms["guided"]) == 16
    assert arms["guided"] == arms["unguided"]


@pytest.mark.parametrize(("guidance", "kind"), [("none", "unguided"), ("solution", "guided")])
def test_guidance_names_the_set_that_is_trained_on(
    tmp_path, sets, pairs, monkeypatch, guidance, kind
):
    from lab_epistemic.sft import transformers_trainer as sft_trainer

    seen = []

    def building(*given):
        seen.extend(given[-1])
        return build_trainer(*given)

    monkeypatch.setattr(sft_trainer, "build_trainer", building)
    config = dataclasses.replace(SMALL, pairs=pairs, guidance=guidance, max_steps=1)
    SelfSFTTrainer(config).fit(context(tmp_path), sets)
    assert {one.kind for one in seen} == {kind}


def weights(ctx) -> bytes:
    return (ctx.run.artifacts / "model" / "model.safetensors").read_bytes()


def series(ctx):
    return {k: v for k, v in ctx.run.series().items() if not k.startswith("time/")}


def test_a_run_that_was_stopped_and_resumed_ends_with_the_same_weights(tmp_path, sets):
    config = dataclasses.replace(SMALL, micro_batch_size=2, evaluate_every=2)
    whole = context(tmp_path / "whole", evaluators=(Evaluator(),))
    SelfSFTTrainer(config).fit(whole, sets)

    class Stopping(Evaluator):
        def evaluate(self, ctx, model, data):
            ctx.should_stop = True
            return super().evaluate(ctx, model, data)

    stopped = context(tmp_path / "stopped", evaluators=(Stopping(),))
    with pytest.raises(PreemptedError, match="stopped at step 2 of 4"):
        SelfSFTTrainer(config).fit(stopped, sets)
    sealed = stopped.run.checkpoints / "00000002"
    resumed = dataclasses.replace(
        stopped, resume_from=sealed, should_stop=False, evaluators=(Evaluator(),)
    )
    SelfSFTTrainer(config).fit(resumed, sets)
    assert weights(resumed) == weights(whole)
    assert series(resumed) == series(whole)
    assert sorted(series(whole)["loss"]) == [1, 2, 3, 4]


def test_a_run_that_ended_after_its_last_checkpoint_only_keeps_the_model(tmp_path, sets, pairs):
    config = dataclasses.replace(SMALL, pairs=pairs, max_steps=2)
    ctx = context(tmp_path)
    SelfSFTTrainer(config).fit(ctx, sets)
    trained = weights(ctx)
    (ctx.run.artifacts / "model" / "model.safetensors").unlink()
    again = dataclasses.replace(ctx, resume_from=ctx.run.checkpoints / "00000002")
    assert SelfSFTTrainer(config).fit(again, sets).step == 2
    assert weights(again) == trained


def test_a_run_evaluates_at_the_start_and_between_but_leaves_the_end_to_the_worker(
    tmp_path, sets, pairs
):
    evaluator = Evaluator()
    ctx = context(tmp_path, evaluators=(evaluator,))
    config = dataclasses.replace(SMALL, pairs=pairs, evaluate_start=True, evaluate_every=2)
    SelfSFTTrainer(config).fit(ctx, sets)
    assert len(evaluator.calls) == len(set(evaluator.calls)) == 2
    start = load_policy(PolicyConfig()).model.get_input_embeddings().weight.sum().item()
    assert evaluator.calls[0] == start


def test_an_evaluator_that_cannot_score_the_model_ends_the_run_before_any_work(
    tmp_path, sets, pairs
):
    class Refusing(Evaluator):
        def plan(self, setup):
            assert setup.data is sets
            raise LabError("no room")

    ctx = context(tmp_path, evaluators=(Refusing(),))
    with pytest.raises(LabError, match="no room"):
        SelfSFTTrainer(dataclasses.replace(SMALL, pairs=pairs, max_steps=1)).fit(ctx, sets)
    assert not ctx.run.checkpoints.exists() or not any(ctx.run.checkpoints.iterdir())


def test_a_resumed_run_does_not_score_its_start_again(tmp_path, sets, pairs):
    config = dataclasses.replace(SMALL, pairs=pairs, max_steps=2, save_every=1)
    SelfSFTTrainer(config).fit(context(tmp_path / "first"), sets)
    (folder,) = (tmp_path / "first").glob("*/checkpoints/00000001")
    evaluator = Evaluator()
    ctx = context(tmp_path / "second", resume_from=folder, evaluators=(evaluator,))
    again = dataclasses.replace(config, evaluate_start=True)
    SelfSFTTrainer(again).fit(ctx, sets)
    assert evaluator.calls == []


def test_trl_gets_the_settings(tmp_path):
    config = SelfSFTConfig(
        max_steps=7,
        learning_rate=0.5,
        weight_decay=0.25,
        max_grad_norm=3.0,
        batch_size=12,
        micro_batch_size=4,
        gradient_checkpointing=True,
        save_every=5,
    )
    args = trl_config(context(tmp_path), config)
    assert (args.max_steps, args.learning_rate, args.weight_decay) == (7, 0.5, 0.25)
    assert (args.max_grad_norm, args.gradient_checkpointing, args.save_steps) == (3.0, True, 5)
    assert (args.per_device_train_batch_size, args.gradient_accumulation_steps) == (4, 3)
    assert (args.max_length, args.packing, args.completion_only_loss) == (None, False, True)
    assert args.lr_scheduler_type == "constant"


def test_the_trained_policy_is_left_with_its_tokenizer_and_template(tmp_path, sets, pairs):
    ctx = context(tmp_path)
    result = SelfSFTTrainer(dataclasses.replace(SMALL, pairs=pairs)).fit(ctx, sets)
    kept = load_policy(PolicyConfig(name=str(ctx.run.artifacts / "model")))
    trained = result.model.model.state_dict()
    assert all(torch.equal(v, trained[k]) for k, v in kept.model.state_dict().items())
    first = "model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(trained[first], load_policy(PolicyConfig()).model.state_dict()[first])
    assert (ctx.run.artifacts / "model" / TEMPLATE_FILE).read_text() == COUNTDOWN_TEMPLATE
    assert not result.model.model.training
    assert result.step == 4


def test_no_steps_only_evaluate(tmp_path, sets):
    ctx = context(tmp_path)
    result = SelfSFTTrainer(dataclasses.replace(SMALL, max_steps=0)).fit(ctx, sets)
    assert result.step == 0
    assert not (ctx.run.artifacts / "sft_pairs.jsonl").exists()


def test_a_runs_metrics_are_the_documented_ones(tmp_path, sets, pairs):
    ctx = context(tmp_path)
    SelfSFTTrainer(dataclasses.replace(SMALL, pairs=pairs)).fit(ctx, sets)
    found = ctx.run.series()
    assert set(found) == {"loss", "grad_norm", "learning_rate", "time/step"}
    assert set(found["learning_rate"].values()) == {1e-3}
    documented = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
    section = documented.split("## Off-policy self-distillation\n")[1].split("\n## ")[0]
    assert all(f"`{name}`" in section for name in found)


def test_a_loss_that_is_nan_ends_the_run_as_diverged(tmp_path, sets, pairs):
    trainer, _ = trainer_of(context(tmp_path), sets, pairs)
    with torch.no_grad():
        trainer.policy.model.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(DivergedError, match="loss is nan at step 1"):
        trainer.train()


def test_a_gradient_that_is_not_finite_ends_the_run_as_diverged(tmp_path, sets, pairs):
    trainer, _ = trainer_of(context(tmp_path), sets, pairs)
    weight = trainer.policy.model.model.norm.weight
    weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(DivergedError, match="gradient norm is not finite at step 1"):
        trainer.train()


def test_a_system_prompt_stands_before_prompts_without_one_when_trained_on(pairs):
    policy = load_policy(PolicyConfig())
    one = read(Path(pairs))[0]
    own = dataclasses.replace(one, prompt=({"role": "system", "content": "own"}, *one.prompt))
    plain, told, kept = (
        policy.tokenizer.decode(rows_of(policy, [response], text)["input_ids"][0])
        for response, text in ((one, ""), (one, "nums 1"), (own, "nums 1"))
    )
    assert told.endswith(plain)
    assert told.removesuffix(plain).split() == ["<|im_start|>system", "nums", "1<|im_end|>"]
    assert "nums 1<|im_end|>" not in kept
    assert "own" in kept
