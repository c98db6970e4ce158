"""Rollouts of the evaluated model, what its teacher reads, and distributions along them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from lab_llm.distributed.ranks import gather_objects
from lab_llm.distributed.stopping import stop_if_asked
from lab_llm.evaluation.accuracy import check_prompts_fit, end_tokens
from lab_llm.grading.grades import grade_all
from lab_llm.policy.head import logits_head
from lab_llm.policy.policy import KnownPolicy, Policy, known_policy
from lab_llm.problems import Problem, ProblemSets, problem_sets
from lab_llm.sampling.decoder import check_architecture
from lab_llm.sampling.sampler import sample
from lab_llm.text.completion_text import completion_text
from lab_llm.text.prompts import encode, most_tokens, with_solution
from lab_llm.training.sequences import padded
from lab_llm.training.teacher import GradedRollouts
from labrun import LabError, Setup, unknown
from torch import Tensor

from lab_rlrt.analysis.config import RolloutSettings, TaughtSettings

if TYPE_CHECKING:
    from labrun.runs.context import RunContext

Ids = Sequence[int]
Reduce = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(first (n, V), second (n, V), tokens (n,)) -> (n, K); the first two are log-probabilities."""


@dataclass(frozen=True)
class Rollout:
    """One completion of a problem; `group` numbers the problem, `index` the rollout."""

    index: int
    group: int
    problem: Problem
    prompt: Ids
    completion: Ids
    text: str
    reward: float

    @property
    def correct(self) -> bool:
        return self.reward == 1.0


def is_due(ctx: "RunContext", *, only_last: bool) -> bool:
    """Whether to work at this evaluation: at each, or where the run has taken all its steps."""
    if not only_last:
        return True
    return ctx.step >= ctx.run.experiment().settings["trainer"]["max_steps"]


@contextmanager
def evaluating(policy: Policy) -> Iterator[None]:
    """The model without dropout and gradient; its mode comes back at the end."""
    was_training = policy.model.training
    policy.model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        policy.model.train(was_training)


def choose_set(data: ProblemSets, settings: RolloutSettings) -> tuple[str, Sequence[Problem]]:
    """Name and first problems of the evaluation set that is analysed."""
    name = settings.evaluation_set or next(iter(data.evaluation), "")
    if name not in data.evaluation:
        raise unknown("evaluation_set", name, data.evaluation)
    problems = data.evaluation[name][: settings.max_problems]
    if not problems:
        raise LabError(f"evaluation set {name!r} has no problems")
    return name, problems


def check_run(setup: Setup, settings: RolloutSettings, *, section: str) -> None:
    """Raises LabError where the data have no set to sample from, or the policy cannot sample it."""
    sets, policy = problem_sets(setup, key=f"evaluator.{section}"), known_policy(setup)
    if sets is None:
        return
    if not sets.evaluation:
        raise LabError(
            f"evaluator={section} samples problems of an evaluation set, and the data have none; "
            "give one (dataset.evaluation), or leave the evaluator out"
        )
    if settings.evaluation_set and settings.evaluation_set not in sets.evaluation:
        what = f"evaluation set for evaluator.{section}.evaluation_set"
        raise unknown(what, settings.evaluation_set, sets.evaluation)
    if policy is not None:
        check_sampling(policy, sets, settings, section=section)


def check_sampling(
    policy: KnownPolicy, data: ProblemSets, settings: RolloutSettings, *, section: str
) -> None:
    """Raises LabError where the sampler does not know the architecture, or the longest prompt and
    max_new_tokens are more than the model takes; a teacher reads a rollout twice as long, that of
    the group that it is shown and the one that it judges."""
    check_architecture(policy.config)
    _, problems = choose_set(data, settings)
    key = f"evaluator.{section}.max_new_tokens"
    check_prompts_fit(policy, problems, settings.max_new_tokens, key=key)
    if isinstance(settings, TaughtSettings):
        _check_teacher_fits(policy, problems, settings, key=key)


def _check_teacher_fits(
    policy: KnownPolicy, problems: Sequence[Problem], settings: TaughtSettings, *, key: str
) -> None:
    """LabError where a prompt with a whole rollout in it, and another one, are too many tokens."""
    limit, longest = positions_of(policy), settings.max_new_tokens
    if limit is None:
        return
    template = settings.template_for(str(policy.tokenizer.name_or_path))
    taught = [(p.id, with_solution(p.prompt, "", template)) for p in problems]
    suspects = [(name, chat) for name, chat in taught if most_tokens(chat) + 2 * longest > limit]
    sizes = ((len(encode(policy.tokenizer, chat)), name) for name, chat in suspects)
    most, name = max(sizes, default=(0, ""))
    if most + 2 * longest > limit:
        left = (limit - most) // 2
        raise LabError(
            f"{key}={longest}: the teacher reads the prompt of {name}, {most} tokens, with two "
            f"rollouts, which is more than the model's {limit}; "
            + (f"set {left} at most" if left > 0 else "take the problem out")
        )


def positions_of(policy: KnownPolicy) -> int | None:
    """The longest sequence of the model (tokens); None where it says none."""
    limit = getattr(policy.config, "max_position_embeddings", None)
    return limit if isinstance(limit, int) else None


def sample_groups(
    ctx: "RunContext", policy: Policy, data: ProblemSets, settings: RolloutSettings
) -> list[Rollout]:
    """`num_samples` rollouts of each problem, group after group.

    Their generator is seeded by the run's seed and the set's name: all analyses of equal settings
    look at the same rollouts. Every rank makes them, and has those of the first: a grader that ran
    out of time on one rank alone would make the ranks do unequal work.
    """
    name, problems = choose_set(data, settings)
    prompts = [encode(policy.tokenizer, problem.prompt) for problem in problems]
    generator = torch.Generator().manual_seed(ctx.derive_seed("analysis", name))
    size, at_once = settings.num_samples, max(1, settings.batch_size // settings.num_samples)
    found: list[Rollout] = []
    for start in range(0, len(problems), at_once):
        stop_if_asked(ctx, before="all rollouts were sampled")
        completions = complete(
            policy,
            prompts[start : start + at_once],
            num_samples=size,
            max_new_tokens=settings.max_new_tokens,
            temperature=settings.temperature,
            generator=generator,
        )
        groups = [start + row // size for row in range(len(completions))]
        pairs = zip(groups, completions, strict=True)
        texts = [decode(policy, ids, prompt=prompts[group]) for group, ids in pairs]
        grades = grade_all(data.verify, [problems[group] for group in groups], texts)
        graded = zip(groups, completions, texts, grades.rewards, strict=True)
        for group, ids, text, reward in graded:
            problem, prompt = problems[group], prompts[group]
            found.append(Rollout(len(found), group, problem, prompt, tuple(ids), text, reward))
    return gather_objects(found if ctx.rank == 0 else [])[0]


def complete(
    policy: Policy,
    prompts: Sequence[Ids],
    *,
    num_samples: int,
    max_new_tokens: int,
    temperature: float,
    generator: torch.Generator,
) -> list[list[int]]:
    """Token ids of `num_samples` completions of each prompt, over the whole vocabulary."""
    return sample(
        policy.model,
        prompts,
        num_samples=num_samples,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        eos_token_ids=end_tokens(policy),
        pad_token_id=pad_token(policy),
        generator=generator,
    ).completion_ids


def decode(policy: Policy, ids: Ids, *, prompt: Ids) -> str:
    """The text of a completion, as a verifier reads it."""
    return completion_text(policy.tokenizer, ids, prompt_ids=prompt)


def pad_token(policy: Policy) -> int:
    pad: Any = policy.tokenizer.pad_token_id
    return int(pad)


def mixed_groups(rollouts: Sequence[Rollout]) -> list[Rollout]:
    """The rollouts of groups that hold correct and other ones: where A is not 0."""
    outcomes: dict[int, set[bool]] = {}
    for rollout in rollouts:
        outcomes.setdefault(rollout.group, set()).add(rollout.correct)
    return [rollout for rollout in rollouts if len(outcomes[rollout.group]) == 2]


def teacher_prompts(
    ctx: "RunContext",
    policy: Policy,
    rollouts: Sequence[Rollout],
    chosen: Sequence[Rollout],
    *,
    size: int,
    template: str,
) -> list[list[int]]:
    """What the teacher reads for each chosen rollout: its prompt with a correct sibling, as in
    training. `rollouts` are all of them, groups of `size`."""
    graded = GradedRollouts([r.text for r in rollouts], [r.reward for r in rollouts], size)

    def rng(number: int) -> np.random.Generator:
        return ctx.rng("analysis", "teacher", number)

    prompts: list[list[int]] = []
    for rollout in chosen:
        sibling = graded.correct_sibling(rollout.index, rng)
        assert sibling is not None, "chosen rollouts are correct"
        messages = with_solution(rollout.problem.prompt, sibling, template)
        prompts.append(encode(policy.tokenizer, messages))
    return prompts


@dataclass(frozen=True)
class Side:
    """A policy and the prompts after which it sees the completions."""

    policy: Policy
    prompts: Sequence[Ids]


def compare_along(
    first: Side,
    second: Side,
    completions: Sequence[Ids],
    reduce: Reduce,
    *,
    settings: RolloutSettings,
    beat: Callable[[], None] = lambda: None,
) -> list[Float[Tensor, "T K"]]:
    """`reduce` of both distributions at every position of every completion, (T_i, K) each.

    Logits exist for `chunk_size` positions at a time, in float32, divided by the temperature.
    """
    found: list[Tensor] = []
    for start in range(0, len(completions), settings.batch_size):
        rows = slice(start, start + settings.batch_size)
        part = completions[rows]
        states = [_states(side.policy, side.prompts[rows], part) for side in (first, second)]
        tokens = torch.tensor([token for ids in part for token in ids], device=states[0].device)
        pieces = zip(*(t.split(settings.chunk_size) for t in (*states, tokens)), strict=True)
        done = [
            reduce(
                _logprobs(first.policy, mine, settings.temperature),
                _logprobs(second.policy, theirs, settings.temperature),
                sampled,
            )
            for mine, theirs, sampled in pieces
        ]
        found.extend(torch.cat(done).cpu().split([len(ids) for ids in part]))
        beat()
    return found


def _states(policy: Policy, prompts: Sequence[Ids], completions: Sequence[Ids]) -> Tensor:
    """Last hidden states (N, H) that predict the completions' tokens, one after another."""
    ids, mask = padded(prompts, completions, pad_token(policy), policy.model.device)
    model: Any = policy.model
    states = model.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
    width = max(map(len, completions))
    predicting = states.last_hidden_state[:, -width - 1 : -1]
    return predicting[mask[:, -width:].bool()]


def _logprobs(policy: Policy, states: Tensor, temperature: float) -> Tensor:
    head = logits_head(policy.model)
    return (head(states).float() / temperature).log_softmax(-1)
