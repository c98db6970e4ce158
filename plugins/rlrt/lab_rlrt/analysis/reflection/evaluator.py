"""The evaluator `reflection`: does a reflective phrase at the critical position turn outcomes?

Position-level KL and reflection injection of arXiv 2605.10781. The controls are ours: sampling on
from a position turns some outcomes around with nothing inserted.
"""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from lab_llm.distributed.stopping import stop_if_asked
from lab_llm.grading.grades import grade_all
from lab_llm.policy.policy import Policy
from lab_llm.problems import ProblemSets
from labrun import Plan, Score, Setup

from lab_rlrt.analysis.asymmetry.evaluator import check_taught
from lab_rlrt.analysis.config import ReflectionConfig
from lab_rlrt.analysis.reflection.flips import ARMS, Outcomes, by_rollout, rates
from lab_rlrt.analysis.reflection.interventions import Intervention, interventions, phrase_ids
from lab_rlrt.analysis.rollouts import (
    check_run,
    check_sampling,
    choose_set,
    complete,
    decode,
    evaluating,
    is_due,
    mixed_groups,
    positions_of,
    sample_groups,
)
from lab_rlrt.analysis.traces import Trace, trace

if TYPE_CHECKING:
    from labrun.runs.context import RunContext


class ReflectionEvaluator:
    """Continues rollouts of mixed groups four times: at the largest Dbar_t and at a random other
    position, with and without the phrase.

    Scores are means over rollouts, see `flips.by_rollout`; without items, since each run has
    rollouts of other problems. Files: `artifacts/reflection.png`,
    `reflection.json` (rates with intervals over problems) and `reflection.jsonl` (every
    continuation).
    """

    def __init__(self, config: ReflectionConfig) -> None:
        self.config = config

    def plan(self, setup: Setup) -> Plan:
        config = self.config
        check_taught(config, "reflection")
        check_run(setup, config, section="reflection")
        return Plan({"continuations": config.max_rollouts * len(ARMS), "phrase": config.phrase})

    def evaluate(self, ctx: "RunContext", model: Policy, data: ProblemSets) -> list[Score]:
        check_sampling(model, data, self.config, section="reflection")
        if not is_due(ctx, only_last=self.config.only_last):
            return []
        name, _ = choose_set(data, self.config)
        with evaluating(model):
            rollouts = sample_groups(ctx, model, data, self.config)
            long = [r for r in mixed_groups(rollouts) if len(r.completion) > 1]
            chosen = long[: self.config.max_rollouts]
            if len({r.group for r in chosen}) < 2:
                ctx.note(f"reflection: rollouts of fewer than two mixed groups on {name}")
                return []
            traces = trace(ctx, model, rollouts, chosen, self.config)
            arms = interventions(
                traces, phrase_ids(model, self.config.phrase), ctx.rng("positions")
            )
            continued = continue_all(ctx, model, arms, self.config)
        texts = [
            decode(model, [*arm.kept, *ids], prompt=arm.rollout.prompt)
            for arm, ids in zip(arms, continued, strict=True)
        ]
        correct = verdicts(data, arms, texts)
        table = tabulate(arms, correct)
        self._write(ctx, name, traces, arms, texts, correct, table)
        return [
            Score(name, metric, fmean(values), len(values))
            for metric, values in by_rollout(table).items()
            if values
        ]

    def _write(
        self,
        ctx: "RunContext",
        name: str,
        traces: Sequence[Trace],
        arms: Sequence[Intervention],
        texts: Sequence[str],
        correct: Sequence[bool],
        table: Sequence[Outcomes],
    ) -> None:
        from lab_rlrt.analysis.reflection.figure import draw

        found = rates(table, ctx.rng("bootstrap", "reflection"))
        plain = {metric: dataclasses.asdict(rate) for metric, rate in found.items()}
        head = {"set": name, "phrase": self.config.phrase, "rollouts": len(table)}
        head |= {"problems": len({row.problem for row in table})}
        text = json.dumps({**head, "rates": plain}, indent=1, ensure_ascii=False)
        ctx.write_text("reflection.json", text + "\n")
        with ctx.artifact_path("reflection.jsonl").open("w", encoding="utf-8") as out:
            for arm, completion, after in zip(arms, texts, correct, strict=True):
                line = {
                    "id": arm.rollout.problem.id,
                    "rollout": arm.rollout.index,
                    "arm": arm.arm,
                    "position": arm.position,
                    "before": arm.rollout.correct,
                    "after": after,
                    "prompt": [dict(message) for message in arm.rollout.problem.prompt],
                    "gold": arm.rollout.problem.answer,
                    "completion": completion,
                }
                out.write(json.dumps(line, ensure_ascii=False) + "\n")
        title = f"{ctx.run_id}, step {ctx.step}, {name}, inserted: {self.config.phrase!r}"
        ctx.figure("reflection", draw(found, traces, arms, title=title))


def continue_all(
    ctx: "RunContext", policy: Policy, arms: Sequence[Intervention], config: ReflectionConfig
) -> list[list[int]]:
    """One continuation of each. With its prefix it is at most max_new_tokens long; the phrase
    does not count."""
    generator = torch.Generator().manual_seed(ctx.derive_seed("analysis", "continue"))
    prefixes = [[*arm.rollout.prompt, *arm.kept] for arm in arms]
    left = [config.max_new_tokens - arm.position for arm in arms]
    order = sorted(range(len(arms)), key=lambda i: len(arms[i].kept))
    sizes = [(len(prefixes[i]), left[i]) for i in order]
    found: list[list[int]] = [[] for _ in arms]
    for part in parts(sizes, most=config.batch_size, room=positions_of(policy)):
        stop_if_asked(ctx, before="all rollouts were continued")
        rows = order[part]
        completions = complete(
            policy,
            [prefixes[i] for i in rows],
            num_samples=1,
            max_new_tokens=max(left[i] for i in rows),
            temperature=config.temperature,
            generator=generator,
        )
        for i, ids in zip(rows, completions, strict=True):
            found[i] = ids[: left[i]]
    return found


def parts(sizes: Sequence[tuple[int, int]], *, most: int, room: int | None) -> Iterator[slice]:
    """Parts of rows that are sampled together, `most` at once.

    `sizes` are (tokens of the prefix, tokens to sample) of each row. All rows of a part are sampled
    for as long as the one with most to go, behind the longest prefix: a part ends where that would
    be more than `room`, the model's positions (None: no limit).
    """
    start = 0
    while start < len(sizes):
        stop = start + 1
        while stop < min(len(sizes), start + most):
            prefixes, left = zip(*sizes[start : stop + 1], strict=True)
            if room is not None and max(prefixes) + max(left) > room:
                break
            stop += 1
        yield slice(start, stop)
        start = stop


def verdicts(data: ProblemSets, arms: Sequence[Intervention], texts: Sequence[str]) -> list[bool]:
    """Whether each continued completion is correct. Raises LabError for what is no reward."""
    problems = [arm.rollout.problem for arm in arms]
    return [reward == 1.0 for reward in grade_all(data.verify, problems, texts).rewards]


def tabulate(arms: Sequence[Intervention], correct: Sequence[bool]) -> list[Outcomes]:
    """One row a rollout, from the verdicts on its continuations in the order of `interventions`."""
    size = len(ARMS)
    return [
        Outcomes(
            arms[start].rollout.group,
            arms[start].rollout.correct,
            {arms[i].arm: correct[i] for i in range(start, start + size)},
        )
        for start in range(0, len(arms), size)
    ]
