"""The evaluator `asymmetry`: D_t and Dbar_t along rollouts, as scores, a page and a figure."""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from lab_llm.policy.policy import Policy
from lab_llm.problems import ProblemSets
from labrun import LabError, Plan, Score, Setup

from lab_rlrt.analysis.config import AsymmetryConfig, TaughtSettings
from lab_rlrt.analysis.rollouts import (
    check_run,
    check_sampling,
    choose_set,
    evaluating,
    is_due,
    mixed_groups,
    sample_groups,
)
from lab_rlrt.analysis.traces import Trace, trace

if TYPE_CHECKING:
    from labrun.runs.context import RunContext

Measure = Callable[[Trace], float]

MEASURES: dict[str, Measure] = {
    "information_asymmetry": lambda t: fmean(t.asymmetry),
    "position_asymmetry": lambda t: fmean(t.divergence),
    "positive_share": lambda t: fmean(float(value > 0) for value in t.asymmetry),
}


def check_taught(settings: TaughtSettings, name: str) -> None:
    """Raises LabError where no group can be mixed, or the template lacks a placeholder."""
    if settings.num_samples < 2:
        raise LabError(
            f"evaluator.{name}.num_samples={settings.num_samples}: the teacher is given another "
            "rollout of the group; set it to 2 or more"
        )
    settings.check_template(key=f"evaluator.{name}.teacher_template")


class AsymmetryEvaluator:
    """Traces the rollouts of mixed groups: those whose tokens RLRT weighs.

    Scores, means over rollouts of the mean over a rollout's tokens: `information_asymmetry`,
    `position_asymmetry` and `positive_share`, each `_correct` and `_wrong`. They have no items:
    other runs have mixed groups of other problems. Files: `artifacts/asymmetry.html`,
    `asymmetry.png` and `asymmetry_tokens.jsonl`.
    """

    def __init__(self, config: AsymmetryConfig) -> None:
        self.config = config

    def plan(self, setup: Setup) -> Plan:
        check_taught(self.config, "asymmetry")
        check_run(setup, self.config, section="asymmetry")
        return Plan({"rollouts": self.config.max_problems * self.config.num_samples})

    def evaluate(self, ctx: "RunContext", model: Policy, data: ProblemSets) -> list[Score]:
        check_sampling(model, data, self.config, section="asymmetry")
        if not is_due(ctx, only_last=self.config.only_last):
            return []
        name, _ = choose_set(data, self.config)
        with evaluating(model):
            rollouts = sample_groups(ctx, model, data, self.config)
            chosen = mixed_groups(rollouts)
            if not chosen:
                ctx.note(f"asymmetry: no group of {name} has correct and wrong rollouts")
                return []
            traces = trace(ctx, model, rollouts, chosen, self.config)
        self._write(ctx, name, traces)
        return scores(name, traces)

    def _write(self, ctx: "RunContext", name: str, traces: Sequence[Trace]) -> None:
        from lab_rlrt.analysis.asymmetry.figure import draw
        from lab_rlrt.analysis.asymmetry.page import page

        config = self.config
        title = f"{ctx.run_id}, step {ctx.step}, {name}"
        text = page(balanced(traces, config.num_shown), title=title)
        ctx.write_text("asymmetry.html", text)
        ctx.figure("asymmetry", draw(traces, balanced(traces, config.num_drawn), title=title))
        with ctx.artifact_path("asymmetry_tokens.jsonl").open("w", encoding="utf-8") as out:
            for line in token_table(traces, min_count=config.min_count):
                out.write(json.dumps(line, ensure_ascii=False) + "\n")


def scores(name: str, traces: Sequence[Trace]) -> list[Score]:
    """Mean over rollouts of each measure's mean over tokens, correct and wrong ones apart."""
    found: list[Score] = []
    for outcome, wanted in (("correct", True), ("wrong", False)):
        part = [t for t in traces if t.rollout.correct == wanted]
        for metric, measure in MEASURES.items():
            values = [measure(t) for t in part]
            found.append(Score(name, f"{metric}_{outcome}", fmean(values), len(values)))
    return found


def balanced(traces: Sequence[Trace], wanted: int) -> list[Trace]:
    """The first `wanted` traces, correct and wrong in turn, at most one of each from a group.

    Fewer where there are fewer groups.
    """
    groups: dict[int, dict[bool, Trace]] = defaultdict(dict)
    for item in traces:
        groups[item.rollout.group].setdefault(item.rollout.correct, item)
    pairs = [pair[outcome] for pair in groups.values() for outcome in (True, False)]
    return pairs[:wanted]


def token_table(traces: Sequence[Trace], *, min_count: int) -> list[dict[str, Any]]:
    """Tokens by falling mean of D_t over all their occurrences, with the mean by outcome."""
    values: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    texts: dict[int, str] = {}
    for item in traces:
        places = zip(item.rollout.completion, item.tokens, item.asymmetry, strict=True)
        for token, text, value in places:
            values[token].append((value, item.rollout.correct))
            texts[token] = text
    rows: list[dict[str, Any]] = [
        {
            "token": texts[token],
            "id": token,
            "count": len(found),
            "mean": fmean(value for value, _ in found),
            "mean_correct": _mean([value for value, correct in found if correct]),
            "mean_wrong": _mean([value for value, correct in found if not correct]),
        }
        for token, found in values.items()
        if len(found) >= min_count
    ]
    return sorted(rows, key=lambda row: -row["mean"])


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
