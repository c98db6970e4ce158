"""The problems of study 1, by how often the model solves them, and a solution of each."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from lab_llm.problems import MARKED, THINK_START, Problem, ProblemSets
from lab_llm.text.chat_template import THINKING
from labrun import LabError, unknown

from lab_epistemic.richness.config import RichnessConfig
from lab_epistemic.richness.contexts import ADVICE, ASKS_THINKING
from lab_epistemic.richness.responses import FOLDER, Asked

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def check_window(config: RichnessConfig) -> None:
    """Raises LabError where no pass count, or no correct probe, can lie in the window."""
    low, high, num = config.min_passes, config.max_passes, config.num_probes
    if not low <= high <= num:
        raise LabError(
            f"evaluator.richness: min_passes={low}, max_passes={high}, num_probes={num}; allowed: "
            "min_passes <= max_passes <= num_probes"
        )
    if low == 0 and config.solution_source == "response":
        raise LabError(
            "evaluator.richness.min_passes=0 keeps problems without a correct probe, which "
            "solution_source=response needs; set min_passes=1 or solution_source=dataset"
        )


def pool_of(sets: ProblemSets, config: RichnessConfig) -> Sequence[Problem]:
    """The first `pool_size` problems of the pool.

    Raises LabError for an unknown or an empty one, and where a problem lacks the solution that
    `solution_source=dataset` takes.
    """
    pools = {"train": sets.train, **sets.evaluation}
    if config.pool not in pools:
        raise unknown("evaluator.richness.pool", config.pool, pools)
    problems = pools[config.pool][: config.pool_size]
    if not problems:
        raise LabError(f"evaluator.richness.pool={config.pool}: the set has no problems")
    without = [problem.id for problem in problems if problem.solution is None]
    if config.solution_source == "dataset" and without:
        raise LabError(
            f"evaluator.richness.solution_source=dataset, but {len(without)} of {len(problems)} "
            f"problems of {config.pool!r} have no solution (the first: {without[0]}); set "
            "dataset.solution_column, which is for training rows, or solution_source=response"
        )
    return problems


def pass_counts(probes: Sequence[Asked]) -> dict[int, int]:
    """Correct responses of a problem -> number of such problems."""
    return dict(sorted(Counter(len(one.correct) for one in probes).items()))


def select(probes: Sequence[Asked], config: RichnessConfig) -> list[Asked]:
    """The first `num_problems` whose pass count lies in the window, in the pool's order.

    Raises LabError, with the pass counts that were found, where there is none.
    """
    low, high = config.min_passes, config.max_passes
    kept = [one for one in probes if low <= len(one.correct) <= high]
    if not kept:
        found = ", ".join(f"{n} with {count}" for count, n in pass_counts(probes).items())
        raise LabError(
            f"no problem of the first {len(probes)} of {config.pool!r} has {low} to {high} correct "
            f"of {config.num_probes} responses; problems by pass count: {found}; set "
            "evaluator.richness.min_passes and max_passes to what was found, raise pool_size, or "
            f"take another pool; the responses are kept in artifacts/{FOLDER}/probe.jsonl"
        )
    return kept[: config.num_problems]


def solutions(
    chosen: Sequence[Asked], config: RichnessConfig, rng: np.random.Generator
) -> list[str]:
    """A correct solution of each problem: one of its correct probes, or the dataset's."""
    if config.solution_source == "dataset":
        return [_solution(one.problem) for one in chosen]
    if config.response_choice == "first":
        return [one.correct[0] for one in chosen]
    return [one.correct[int(rng.integers(len(one.correct)))] for one in chosen]


def _solution(problem: Problem) -> str:
    assert problem.solution is not None, "pool_of refuses problems without one"
    return problem.solution


def check_thinking(
    sets: ProblemSets,
    problems: Sequence[Problem],
    config: RichnessConfig,
    tokenizer: "PreTrainedTokenizerBase | None" = None,
) -> None:
    """Raises LabError where `without_thinking` is asked and, before any response, it is sure that
    no solution marks its thinking: the dataset's hold no marks, or the model knows none."""
    if "without_thinking" not in config.levels:
        return
    if config.solution_source == "dataset":
        cut = (sets.forms.without_thinking(problem, _solution(problem)) for problem in problems)
        if not any(cut):
            raise LabError(
                f"{ASKS_THINKING}, but none of the {len(problems)} solutions of {config.pool!r} "
                f"marks its thinking; {ADVICE}"
            )
    elif sets.forms is MARKED and tokenizer is not None and not _knows_thinking(tokenizer):
        raise LabError(
            f"{ASKS_THINKING}, but the model's chat template and vocabulary hold no <think>, "
            "or model.thinking=false; "
            f"{ADVICE}"
        )


def _knows_thinking(tokenizer: "PreTrainedTokenizerBase") -> bool:
    template = str(tokenizer.chat_template)
    if template.startswith(THINKING[False]):
        return False
    return THINK_START in template or THINK_START in tokenizer.get_vocab()
