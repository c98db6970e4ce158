"""The warm start: its examples, its batches, exact resume, and that it learns."""

import dataclasses
import json
import math
import random

import pytest
import torch
from lab_llm.datasets import countdown as task
from lab_llm.datasets.countdown import CountdownDataset
from lab_llm.datasets.countdown_config import CountdownConfig
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.policy import load_policy
from lab_llm.policy.tiny_model import TinyModelConfig, shipped_path
from lab_llm.training.warm_start.batches import IGNORED, Batch, Batches
from lab_llm.training.warm_start.config import WarmStartConfig
from lab_llm.training.warm_start.examples import draw_example, new_policy
from lab_llm.training.warm_start.trainer import (
    WarmStartTrainer,
    build_trainer,
    imitation_loss,
    learning_rate,
)
from labrun.contract import Trainer
from labrun.errors import DivergedError, LabError, PreemptedError
from labrun.plan import Setup
from labrun.runs import checkpoints
from labrun.runs.context import RunContext
from labrun.runs.run_dir import RunDir
from safetensors.torch import load_file

SIZES = TinyModelConfig(hidden_size=32, intermediate_size=64, num_layers=2, head_dim=16)
SHORT = WarmStartConfig(
    max_steps=20, batch_size=4, warmup_steps=5, save_every=8, log_every=5, validate_every=1000
)


class StoppingContext(RunContext):
    """A real run context that is asked to stop once `stop_at` has been logged."""

    stop_at = -1

    def log(self, step, metrics):
        super().log(step, metrics)
        self.should_stop = step == self.stop_at


def context(folder, *, seed=0, resume_from=None, stop_at=-1):
    run = RunDir(folder)
    run.path.mkdir(parents=True, exist_ok=True)
    ctx = StoppingContext(
        run=run,
        seed=seed,
        attempt=0,
        devices=(),
        resume_from=resume_from,
        keep_checkpoints=9,
    )
    ctx.stop_at = stop_at
    return ctx


def weights(folder):
    return load_file(folder / "artifacts" / "tiny" / "model.safetensors")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, WarmStartTrainer(SHORT, SIZES).fit(context(folder))


@pytest.fixture(scope="module")
def untrained():
    return new_policy(SHORT, SIZES)


def test_interrupted_and_resumed_gives_the_same_weights_bit_for_bit(uninterrupted, tmp_path):
    trainer = WarmStartTrainer(SHORT, SIZES)
    with pytest.raises(PreemptedError, match="stopped at step 10 of 20"):
        trainer.fit(context(tmp_path / "cut", stop_at=10))
    kept = checkpoints.latest(tmp_path / "cut" / "checkpoints")
    assert checkpoints.step_of(kept) == 10
    result = trainer.fit(context(tmp_path / "cut", resume_from=kept))
    assert result.step == 20
    whole, resumed = weights(uninterrupted[0]), weights(tmp_path / "cut")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_run_that_had_ended_resumes_without_a_step(uninterrupted, tmp_path):
    kept = checkpoints.latest(uninterrupted[0] / "checkpoints")
    assert checkpoints.step_of(kept) == 20
    WarmStartTrainer(SHORT, SIZES).fit(context(tmp_path / "again", resume_from=kept))
    whole, resumed = weights(uninterrupted[0]), weights(tmp_path / "again")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_another_seed_gives_other_weights(uninterrupted, tmp_path):
    WarmStartTrainer(SHORT, SIZES).fit(context(tmp_path / "other", seed=1))
    name = "model.embed_tokens.weight"
    assert not torch.equal(weights(uninterrupted[0])[name], weights(tmp_path / "other")[name])


def test_the_loss_falls_and_the_result_loads_as_a_policy(uninterrupted):
    folder, result = uninterrupted
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    metrics = [(e["step"], e["metrics"]) for e in events if e.get("metrics")]
    losses = {step: m["train/loss"] for step, m in metrics if "train/loss" in m}
    assert list(losses) == [5, 10, 15, 20]
    assert losses[20] < losses[5] < math.log(len(result.model.tokenizer)) + 0.5
    assert 0 <= metrics[-1][1]["validation/pass_rate"] <= 1
    loaded = load_policy(PolicyConfig(name=str(folder / "artifacts" / "tiny")))
    assert torch.equal(loaded.model.lm_head.weight, result.model.model.lm_head.weight)


def test_examples_come_from_the_warm_start_splits_alone_in_the_documented_shares():
    rng, config = random.Random(0), WarmStartConfig()
    counts, with_ref = dict.fromkeys(task.FAMILIES, 0), 0
    for _ in range(2000):
        example = draw_example(rng, config)
        asked, _, ref = example.question.partition("\nref: ")
        numbers, _, target = asked.removeprefix("nums ").partition(" make ")
        identity = tuple(sorted(map(int, numbers.split()))), int(target)
        family = next(f for f in task.FAMILIES if identity in task.identities(f, "warmstart"))
        counts[family] += 1
        with_ref += bool(ref)
        if ref:
            assert example.completion.endswith(f"ans {ref.split()[-1]}")
            assert task.grade(*identity, example.completion) == 1.0
    # Five standard errors of shares .4, .3, .3 and .3 in 2,000: .055 and less.
    assert counts["in_domain"] / 2000 == pytest.approx(0.4, abs=0.055)
    assert counts["ood_large"] / 2000 == pytest.approx(0.3, abs=0.055)
    assert with_ref / 2000 == pytest.approx(0.3, abs=0.055)


def test_batches_are_a_pure_function_of_seed_and_step(untrained):
    in_order, backwards = Batches(untrained, SHORT, 5), Batches(untrained, SHORT, 5)
    ahead = [in_order[step] for step in range(12)]
    for step in reversed(range(12)):
        assert torch.equal(backwards[step].ids, ahead[step].ids)
        assert torch.equal(backwards[step].labels, ahead[step].labels)
    other = Batches(untrained, SHORT, 6)[0]
    assert other.ids.shape != ahead[0].ids.shape or not torch.equal(other.ids, ahead[0].ids)


def test_batches_that_were_sorted_together_come_in_random_order(untrained):
    """Each holds examples of nearly one length; their lengths do not rise from step to step."""
    widths = [Batches(untrained, SHORT, 5)[step].ids.shape[1] for step in range(8)]
    assert sorted(widths) != widths != sorted(widths, reverse=True)


def test_numbers_are_asked_for_in_any_order():
    rng = random.Random(0)
    asked = [draw_example(rng, SHORT).question.split(" make ")[0].split()[1:] for _ in range(50)]
    rising = [numbers == sorted(numbers, key=int) for numbers in asked]
    assert 0 < sum(rising) < 50


def test_it_is_adamw_with_the_settings_of_the_run(untrained, tmp_path):
    config = dataclasses.replace(SHORT, weight_decay=0.25, max_grad_norm=0.5)
    trainer = build_trainer(context(tmp_path / "run"), untrained, config)
    (group,) = trainer.optimizer.param_groups
    assert (group["betas"], group["weight_decay"]) == ((0.9, 0.98), 0.25)
    assert trainer.args.max_grad_norm == 0.5


def test_only_the_completion_and_its_end_token_are_imitated(untrained):
    batch = Batches(untrained, SHORT, 0)[0]
    for ids, labels in zip(batch.ids, batch.labels, strict=True):
        kept = labels != IGNORED
        assert torch.equal(ids[kept], labels[kept])
        assert labels[kept][-1] == untrained.tokenizer.eos_token_id
        before = untrained.tokenizer.decode(ids[: int(kept.nonzero()[0, 0])])
        assert before.startswith("<|im_start|>user\nnums ")
        assert before.endswith("<|im_end|>\n<|im_start|>assistant\n")


def test_the_loss_is_the_mean_over_completion_tokens_and_ignores_padding(untrained):
    model = untrained.model
    ids, labels = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[IGNORED, IGNORED, 7, 8]])
    with torch.no_grad():
        logprobs = model(ids).logits[0].log_softmax(-1)
        by_hand = -(logprobs[1, 7] + logprobs[2, 8]) / 2
        padded = Batch(
            torch.cat((ids, torch.zeros(1, 3, dtype=torch.long)), 1),
            torch.cat((labels, torch.full((1, 3), IGNORED)), 1),
        )
        assert imitation_loss(model, Batch(ids, labels)).item() == pytest.approx(by_hand.item())
        assert imitation_loss(model, padded).item() == pytest.approx(by_hand.item())


def test_the_learning_rate_warms_up_and_falls_to_its_final_share():
    config = WarmStartConfig(
        max_steps=100, learning_rate=1.0, warmup_steps=10, final_learning_rate_share=0.1
    )
    assert learning_rate(0, config) == pytest.approx(0.1)
    # Half way, the cosine is .5: .1 + .9 * .5.
    assert learning_rate(50, config) == pytest.approx(0.55)
    assert learning_rate(100, config) == pytest.approx(0.1)


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path):
    config = WarmStartConfig(max_steps=50, batch_size=2, learning_rate=1e30, warmup_steps=0)
    with pytest.raises(DivergedError, match=r"loss is (nan|inf) at|norm is not finite"):
        WarmStartTrainer(config, SIZES).fit(context(tmp_path / "run"))


def test_the_plan_wants_countdown_and_an_example_to_draw():
    trainer = WarmStartTrainer(WarmStartConfig())
    assert isinstance(trainer, Trainer)
    facts = trainer.plan(Setup(dataset=CountdownDataset(CountdownConfig()))).facts
    assert facts["warmstart_problems"] == {"in_domain": 106, "ood_large": 685, "ood_four": 281}

    class Other:
        """A data set of another task."""

    with pytest.raises(LabError, match="teaches countdown, got Other; choose dataset=countdown"):
        trainer.plan(Setup(dataset=Other()))
    none = WarmStartConfig(in_domain_share=0, ood_large_share=0, ood_four_share=0)
    with pytest.raises(LabError, match="are all 0"):
        WarmStartTrainer(none).plan(Setup(dataset=CountdownDataset(CountdownConfig())))


def test_the_shipped_tokenizer_is_the_one_that_the_defaults_give():
    policy = new_policy(WarmStartConfig(), TinyModelConfig())
    shipped = json.loads((shipped_path() / "tokenizer.json").read_text())
    assert policy.tokenizer.get_vocab().items() >= shipped["model"]["vocab"].items()
    assert len(policy.tokenizer) == 296
