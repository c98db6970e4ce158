"""SDPO on the shipped model: who sees what, the step's gradient, the teacher's weights."""

import dataclasses

import pytest
import torch
from lab_llm.policy.policy import load_policy
from lab_llm.problems import MARKED
from lab_llm.text.prompts import encode, with_solution
from lab_llm.training.distillation import compared, divergence
from lab_llm.training.distillation_config import DistillationConfig
from lab_llm.training.run import build_trainer, train
from lab_llm.training.teacher_weights import average, remainders_of
from lab_rlrt.config import RLRTConfig
from lab_rlrt.methods import make_objective
from labrun import PreemptedError
from labrun.config.components import build
from labrun.config.experiments import compose
from labrun.runs import run_dir
from labrun.runs.context import RunContext

SMALL = {
    "credit": "sdpo",
    "max_steps": 2,
    "prompts_per_step": 6,
    "num_generations": 4,
    "micro_batch_size": 8,
    "save_every": 1,
    "evaluate_start": False,
}


def context(root) -> RunContext:
    run = run_dir.create(compose(["plugin=rlrt", "method=sdpo", "seed=1"]), root=root)
    return RunContext(run=run, seed=1, attempt=0, devices=(), resume_from=None, keep_checkpoints=2)


@pytest.fixture
def ctx(tmp_path) -> RunContext:
    return context(tmp_path)


@pytest.fixture(scope="module")
def sets():
    return build(compose(["plugin=rlrt"])).dataset.sets


def config_of(distillation=None, **settings) -> RLRTConfig:
    chosen = DistillationConfig(**(distillation or {}))
    return RLRTConfig(**{**SMALL, **settings}, distillation=chosen)


def trainer_of(ctx, sets, distillation=None, **settings):
    config = config_of(distillation, **settings)
    return build_trainer(ctx, load_policy(config.model), sets, config, make_objective(config))


def trained(ctx, sets, config):
    return train(ctx, sets, config, make_objective(config))


def step_gradient(trainer):
    """What the micro-batches of one optimizer step accumulate, before clipping."""
    inputs = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    for _ in range(trainer.args.gradient_accumulation_steps):
        trainer.training_step(trainer.model, inputs, None)
    return flat_gradient(trainer.model), inputs


def flat_gradient(model):
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def plain_loss(trainer, student, teacher, inputs, *, allow_itself=False):
    """SDPO's loss rollout by rollout, whole distributions, no padding, no chunks."""
    config, group = trainer.objective.config, trainer.graded
    texts, seed = group.texts, prompts_of(trainer).seed
    total, count = torch.zeros(()), 0
    for row, text in enumerate(texts):
        start = row - row % group.group_size
        correct = [i for i in range(start, start + group.group_size) if group.rewards[i] == 1.0]
        others = [i for i in correct if i != row]
        if not (others or (allow_itself and correct)):
            continue
        solution = group.correct_sibling(row, seed)
        assert solution in {texts[i] for i in (others or [row])}
        problem = trainer.rewards.sets.train[inputs[row]["index"]]
        completion = trainer.completions[row]
        told = with_solution(problem.prompt, solution, trainer.objective.teacher.template)
        p = distribution(student, trainer, problem.prompt, completion)
        with torch.no_grad():
            q = distribution(teacher, trainer, told, completion)
        pair = compared(p, q, top_k=config.top_k, tail=config.tail)
        total = total + divergence(*pair, alpha=config.alpha).sum()
        count += len(completion)
        assert text is not None
    return total / count


def prompts_of(trainer):
    return trainer.teacher_prompts(trainer.objective.teacher)


def distribution(model, trainer, prompt, completion):
    prompt_ids = encode(trainer.policy.tokenizer, prompt)
    logits = model(torch.tensor([[*prompt_ids, *completion]])).logits[0, len(prompt_ids) - 1 : -1]
    return (logits / trainer.settings.temperature).log_softmax(-1)


def remember_completions(trainer):
    """Keep each rollout's tokens, in the order in which they were sampled."""
    original = trainer.engine.sample

    def rollouts(*args):
        found = original(*args)
        trainer.completions = found["completion_ids"]
        return found

    trainer.rollout_func = rollouts


@pytest.mark.parametrize("itself", [False, True])
@pytest.mark.parametrize("micro_batch_size", [24, 4])
def test_a_steps_gradient_is_that_of_the_plain_loss(ctx, sets, micro_batch_size, itself):
    how = {"top_k": 20, "dont_reprompt_on_self_success": not itself}
    trainer = trainer_of(ctx, sets, how, micro_batch_size=micro_batch_size, temperature=0.7)
    scale(trainer.objective.teacher_weights.model, 1.1)  # a teacher that differs from the student
    remember_completions(trainer)
    got, inputs = step_gradient(trainer)
    trainer.model.zero_grad()
    teacher = trainer.objective.teacher_weights.model
    loss = plain_loss(trainer, trainer.model, teacher, inputs, allow_itself=itself)
    loss.backward()
    expected = flat_gradient(trainer.model)
    assert expected.norm() > 0.01
    assert (got - expected).norm() < 1e-4 * expected.norm()


@torch.no_grad()
def scale(model, factor):
    for parameter in model.parameters():
        parameter.mul_(factor)


def minibatch_loss(trainer, old, parts):
    """The loss of one of two updates of a batch, rollout by rollout without padding; tokens weigh
    by their ratio to the model `old`. Its mean is over half the batch's distilled tokens."""
    config, total = trainer.objective.config, torch.zeros(())
    for part in parts:
        for row in part.teacher.has_context.nonzero()[:, 0].tolist():
            completion = part.ids[row, -part.width :][: int(part.lengths[row])]
            alone, told = (
                read.ids[row][read.attention_mask[row].bool()][: -len(completion)]
                for read in (part, part.teacher)
            )
            p = after(trainer, trainer.model, alone, completion)
            with torch.no_grad():
                q = after(trainer, trainer.objective.teacher_weights.model, told, completion)
                before = after(trainer, old, alone, completion)
                ratio = (p - before).gather(1, completion[:, None])[:, 0].exp()
            pair = compared(p, q, top_k=config.top_k, tail=config.tail)
            weight = ratio.clamp(max=config.ratio_clip)
            total = total + (weight * divergence(*pair, alpha=config.alpha)).sum()
    return total / (parts[0].teacher.num_tokens / 2)


def after(trainer, model, prompt, completion):
    """Log-probabilities (T, V) along a completion."""
    logits = model(torch.cat([prompt, completion])[None]).logits[0, len(prompt) - 1 : -1]
    return (logits / trainer.settings.temperature).log_softmax(-1)


def test_two_updates_of_a_batch_weigh_tokens_by_their_ratio_to_the_sampling_policy(ctx, sets):
    settings = {"num_minibatches": 2, "micro_batch_size": 4, "temperature": 0.7}
    trainer = trainer_of(ctx, sets, {"top_k": 20, "ratio_clip": 1.2}, **settings)
    old = load_policy(RLRTConfig().model).model.eval()
    got, inputs = step_gradient(trainer)
    first, second = trainer._micro_batches[:3], trainer._micro_batches[3:]
    trainer.model.zero_grad()
    minibatch_loss(trainer, old, first).backward()
    expected = flat_gradient(trainer.model)
    assert (got - expected).norm() < 1e-4 * expected.norm()
    trainer.model.zero_grad()
    scale(trainer.model, 1.05)  # an update
    for _ in second:
        trainer.training_step(trainer.model, inputs, None)
    got = flat_gradient(trainer.model)
    trainer.model.zero_grad()
    minibatch_loss(trainer, old, second).backward()
    expected = flat_gradient(trainer.model)
    assert expected.norm() > 0.01
    assert (got - expected).norm() < 1e-4 * expected.norm()


def test_a_live_teacher_is_the_student_without_gradient(ctx, sets):
    trainer = trainer_of(ctx, sets, {"teacher": "live"})
    assert trainer.objective.teacher_weights is None
    remember_completions(trainer)
    got, inputs = step_gradient(trainer)
    trainer.model.zero_grad()
    plain_loss(trainer, trainer.model, trainer.model, inputs).backward()
    expected = flat_gradient(trainer.model)
    assert (got - expected).norm() < 1e-4 * expected.norm()


def test_the_dataset_s_answer_can_be_the_context_of_every_rollout(ctx, sets):
    trainer = trainer_of(ctx, sets, teacher_context="answer")
    inputs = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    rollouts = trainer.rollouts(inputs)
    sequences = rollouts.teacher
    assert sequences.has_context.tolist() == [1.0] * 24
    assert sequences.num_tokens == rollouts.loss_mask.sum()
    problem = sets.train[inputs[5]["index"]]
    told = with_solution(problem.prompt, problem.answer, trainer.objective.teacher.template)
    ids = sequences.ids[5][sequences.attention_mask[5].bool()][: -int(rollouts.lengths[5])]
    assert ids.tolist() == encode(trainer.policy.tokenizer, told)


def test_thinking_is_taken_out_of_the_solution_where_that_is_asked(ctx, sets):
    thought = dataclasses.replace(sets.train[0], solution="<think>so</think>5+1")
    told = dataclasses.replace(sets, train=[thought])
    told = dataclasses.replace(told, forms=MARKED)
    for richness, expected in (
        ("solution", "<think>so</think>5+1"),
        ("without_thinking", "5+1"),
        ("answer", thought.answer),
    ):
        how = {"richness": richness}
        trainer = trainer_of(ctx, told, how, teacher_context="reference_solution")
        assert prompts_of(trainer).shown(told.train[0], 0) == expected


def test_rollouts_of_groups_without_a_success_add_nothing(ctx, sets):
    trainer = trainer_of(ctx, dataclasses.replace(sets, verify=lambda *_: 0.0))
    gradient, _ = step_gradient(trainer)
    assert not gradient.any()
    assert trainer.metrics.values["teacher_context_fraction"] == [0.0]


def test_the_average_moves_by_its_rate():
    teacher, student = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    for model, value in ((teacher, 1.0), (student, 3.0)):
        torch.nn.init.constant_(model.weight, value)
    average(teacher, student, remainders_of(teacher), rate=0.25)
    assert teacher.weight.item() == 1.5  # .75 * 1 + .25 * 3
    assert student.weight.item() == 3.0


def test_steps_that_bfloat16_does_not_tell_apart_add_up():
    teacher, student = (torch.nn.Linear(1, 1, dtype=torch.bfloat16) for _ in range(2))
    for model, value in ((teacher, 1.0), (student, 1.0625)):
        torch.nn.init.constant_(model.weight, value)
    rests = remainders_of(teacher)
    for _ in range(100):
        average(teacher, student, rests, rate=0.01)
    # the first step is .000625, the next number of bfloat16 after 1 is 1.0078125
    expected = 1.0625 - 0.0625 * 0.99**100
    assert (teacher.weight + 0.0).item() == torch.tensor(expected, dtype=torch.bfloat16).item()
    assert (teacher.weight.float() + rests["weight"].float()).item() == pytest.approx(
        expected, abs=1e-4
    )


def test_a_resumed_average_in_bfloat16_keeps_its_remainders(tmp_path, sets):
    trainer = trainer_of(context(tmp_path / "one"), sets, {"teacher": "ema"}, max_steps=1)
    objective = trainer.objective
    objective.teacher_weights.model.bfloat16()
    rests = remainders_of(objective.teacher_weights.model).items()
    objective.teacher_weights.remainders = {name: rest + 0.5 for name, rest in rests}
    assert objective.teacher_weights.remainders
    objective.save(tmp_path)
    for rest in objective.teacher_weights.remainders.values():
        rest.zero_()
    objective.load(tmp_path)
    assert all((rest == 0.5).all() for rest in objective.teacher_weights.remainders.values())


@pytest.mark.parametrize("teacher", ["frozen", "ema"])
def test_a_teacher_of_its_own_is_the_same_after_a_resume(tmp_path, sets, teacher):
    steps = {"max_steps": 4, "num_minibatches": 2, "prompts_per_step": 2, "micro_batch_size": 4}
    config = config_of({"teacher": teacher, "ema_rate": 0.5}, **steps)
    whole = context(tmp_path / "whole")
    trained(whole, sets, config)
    parted = context(tmp_path / "parted")

    def stopping(problem, completion):
        parted.should_stop = True
        return sets.verify(problem, completion)

    with pytest.raises(PreemptedError, match="stopped at step 2 of 4"):
        trained(parted, dataclasses.replace(sets, verify=stopping), config)
    parted.should_stop = False
    parted.resume_from = parted.run.checkpoints / "00000002"
    trained(parted, sets, config)
    weights = [
        (ctx.run.artifacts / "model" / "model.safetensors").read_bytes() for ctx in (whole, parted)
    ]
    assert weights[0] == weights[1]
    losses = [ctx.run.series()["loss"] for ctx in (whole, parted)]
    assert losses[0] == losses[1]
    assert sorted(losses[0]) == [1, 2, 3, 4]


def test_the_averaged_teacher_follows_the_student_and_the_frozen_one_stays(ctx, sets, tmp_path):
    start = load_policy(RLRTConfig().model).model
    for teacher, moved in (("frozen", False), ("ema", True)):
        one = context(tmp_path / teacher)
        how, few = {"teacher": teacher, "ema_rate": 0.5}, {"max_steps": 1, "prompts_per_step": 2}
        trainer = trainer_of(one, sets, how, **few)
        trainer.train()
        teaching = trainer.objective.teacher_weights.model.parameters()
        same = [torch.equal(a, b) for a, b in zip(teaching, start.parameters(), strict=True)]
        assert all(same) != moved
        if moved:
            means = zip(
                trainer.objective.teacher_weights.model.parameters(),
                start.parameters(),
                trainer.model.parameters(),
                strict=True,
            )
            for mean, before, after in means:
                torch.testing.assert_close(mean, 0.5 * before + 0.5 * after)


def test_a_solution_without_marks_is_shown_whole_and_counted(ctx, sets):
    told = dataclasses.replace(sets, forms=MARKED)
    how = {"richness": "without_thinking"}
    trainer = trainer_of(ctx, told, how, teacher_context="reference_solution")
    assert prompts_of(trainer).shown(told.train[0], 0) == sets.train[0].solution
    assert trainer.metrics.values["teacher_context/unmarked"] == [1.0]


def test_a_long_solution_loses_its_end_and_is_counted(ctx, sets):
    whole = str(sets.train[0].solution)
    tokenizer = load_policy(RLRTConfig().model).tokenizer
    ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
    for limit, shown, count in (
        (len(ids), whole, []),
        (len(ids) - 1, tokenizer.decode(ids[:-1]), [1.0]),
    ):
        how = {"max_context_length": limit}
        trainer = trainer_of(ctx, sets, how, teacher_context="reference_solution")
        assert prompts_of(trainer).shown(sets.train[0], 0) == shown
        assert trainer.metrics.values["teacher_context/truncated"] == count
