"""The two sets of study 2: a model's own correct responses, unguided and guided."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from lab_llm.distributed.ranks import any_rank, gather_objects
from lab_llm.distributed.stopping import stop_points
from lab_llm.grading.grades import grade_all
from lab_llm.policy.engine import Sampling, Share
from lab_llm.policy.policy import Policy
from lab_llm.problems import Message, Problem, ProblemSets
from lab_llm.sampling.batch_engines import end_tokens
from lab_llm.sampling.opening import open_engine
from lab_llm.text.completion_text import completion_text
from lab_llm.text.epistemic_words import epistemic_count, epistemic_words
from lab_llm.text.prompts import encode, with_solution
from labrun import LabError, PreemptedError

from lab_epistemic.sft.config import SelfSFTConfig, engine_settings
from lab_epistemic.sft.file import FILE, KINDS, Kind, Response, as_text, of_kind, read, read_lines

if TYPE_CHECKING:
    from labrun.runs.context import RunContext

STATISTICS = "sft_pairs.json"


def of_run(
    ctx: "RunContext", policy: Policy, sets: ProblemSets, config: SelfSFTConfig, *, template: str
) -> list[Response]:
    """Both sets of the run, a pure function of its config and seed, but not of `guidance`.

    The run's artifacts keep them: a later attempt reads what an earlier one wrote.
    """
    if (kept := _kept(ctx, FILE, read)) is not None:
        return kept
    if config.pairs:
        found, sampled = read(Path(config.pairs).expanduser()), {}
    else:
        ctx.progress(stage="sample")
        found, sampled = sample(ctx, policy, sets, config, template=template)
    facts = statistics(found, config.words) | sampled
    ctx.write_text(STATISTICS, json.dumps(facts, indent=1) + "\n")
    ctx.write_text(FILE, as_text(found))  # last: where it lies, both files are complete
    return found


def sample(
    ctx: "RunContext", policy: Policy, sets: ProblemSets, config: SelfSFTConfig, *, template: str
) -> tuple[list[Response], dict[str, Any]]:
    """Both sets, drawn of fresh responses; and the share of all responses that was correct.

    Problems outside the window, such as those without a correct unguided response, are not asked a
    second time.
    """
    problems = sets.train
    unguided = _correct(ctx, policy, sets, config, problems, [p.prompt for p in problems], KINDS[0])
    solvable = in_window(unguided, config)
    again = [problems[i] for i in solvable]
    solutions = _solutions(ctx, again, [unguided[i] for i in solvable], config)
    asked = [
        with_solution(problem.prompt, solution, template)
        for problem, solution in zip(again, solutions, strict=True)
    ]
    answered = _correct(ctx, policy, sets, config, again, asked, KINDS[1]) if again else []
    guided: list[list[Response]] = [[] for _ in problems]
    for i, found in zip(solvable, answered, strict=True):
        guided[i] = found
    counts = {
        "num_probes": config.num_probes,
        "problems_probed": {"unguided": len(problems), "guided": len(again)},
        "correct_fraction": {
            "unguided": _share(unguided, len(problems) * config.num_probes),
            "guided": _share(answered, len(again) * config.num_probes),
        },
    }
    rng = None if config.response_choice == "first" else ctx.rng("sft", "choose")
    chosen = choose(unguided, guided, config.responses_per_problem, rng)
    return chosen, {"sampled": counts}


def in_window(unguided: Sequence[Sequence[Response]], config: SelfSFTConfig) -> list[int]:
    """The places of the first `num_problems` problems whose correct responses are neither too few
    nor too many. Raises LabError where there are none, but some have correct responses."""
    low, high = max(1, config.min_passes), config.max_passes or config.num_probes
    found = [i for i, of_problem in enumerate(unguided) if low <= len(of_problem) <= high]
    if not found and any(unguided):
        counts = sorted({len(of_problem) for of_problem in unguided})
        raise LabError(
            f"no training problem has {low} to {high} correct responses of "
            f"trainer.num_probes={config.num_probes}; found were {', '.join(map(str, counts))}; "
            "change trainer.min_passes and max_passes, or take other problems"
        )
    return found[: config.num_problems]


def choose(
    unguided: Sequence[Sequence[Response]],
    guided: Sequence[Sequence[Response]],
    size: int,
    rng: np.random.Generator | None,
) -> list[Response]:
    """`size` responses of each kind of each problem that has as many: drawn without replacement, or
    the first ones where there is no `rng`.

    Raises LabError where no problem has.
    """
    chosen: list[Response] = []
    for of_problem in zip(unguided, guided, strict=True):
        if min(map(len, of_problem)) >= size:
            for found in of_problem:
                order = range(len(found)) if rng is None else rng.permutation(len(found))
                chosen += [found[i] for i in order[:size]]
    if not chosen:
        enough = [sum(len(found) >= size for found in kind) for kind in (unguided, guided)]
        raise LabError(
            f"no training problem has trainer.responses_per_problem={size} correct responses of "
            f"both kinds: of {len(unguided)} problems {enough[0]} have as many unguided and "
            f"{enough[1]} guided; raise trainer.num_probes or trainer.max_completion_length, or "
            "lower trainer.responses_per_problem"
        )
    return chosen


def _correct(
    ctx: "RunContext",
    policy: Policy,
    sets: ProblemSets,
    config: SelfSFTConfig,
    problems: Sequence[Problem],
    prompts: Sequence[Sequence[Message]],
    kind: Kind,
) -> list[list[Response]]:
    """The correct responses to each problem, asked by these prompts, that end in an end token.

    The run's artifacts keep them. Raises PreemptedError where the run is to stop before any is
    sampled.
    """
    name = f"sft_{kind}.jsonl"
    if (kept := _kept(ctx, name, read_lines)) is not None:
        return _by_problem(kept, problems)
    if any_rank(ctx.should_stop):
        raise PreemptedError(f"stopped before the {kind} responses were sampled")
    ends = end_tokens(policy)
    ids = [encode(policy.tokenizer, prompt) for prompt in prompts]
    longest = max(map(len, ids)) + config.max_completion_length
    sampling, opened = _sampling(config, ends), engine_settings(config)
    size = sampling.prompts_at_a_time
    with (
        open_engine(ctx, policy, opened, num_tokens=longest, section="trainer") as engine,
        stop_points(ctx, len(ids), size, work=f"sampling the {kind} responses") as beat,
    ):
        seed, share = ctx.derive_seed("sft", kind), Share(ctx.rank, ctx.world_size)
        found = engine.sample(ids, sampling, seed=seed, share=share, beat=beat)
    mine = {
        i: [_response(policy, problems[i], kind, ids[i], t) for t in sampled if t[-1] in ends]
        for i, sampled in found.items()
    }
    # Not stopped here: what was sampled would be lost
    correct = _graded(ctx, sets, problems, mine, batch_size=size)
    ctx.write_text(name, as_text([one for found in correct for one in found]))
    return correct


def _graded(
    ctx: "RunContext",
    sets: ProblemSets,
    problems: Sequence[Problem],
    responses: Mapping[int, Sequence[Response]],
    *,
    batch_size: int,
) -> list[list[Response]]:
    """The correct ones of each problem's responses, which the ranks have graded by shares."""
    correct: dict[int, list[Response]] = {}
    timeouts, places = 0, sorted(responses)
    for start in range(0, len(places), batch_size):
        rows = places[start : start + batch_size]
        asked = [problems[i] for i in rows for _ in responses[i]]
        grades = grade_all(sets.verify, asked, [r.completion for i in rows for r in responses[i]])
        timeouts += sum(grades.timed_out)
        rewards = iter(grades.rewards)
        correct |= {i: [r for r in responses[i] if next(rewards) == 1.0] for i in rows}
        ctx.heartbeat()
    if timeouts := sum(gather_objects(timeouts)):
        ctx.note(f"the grader ran out of time for {timeouts} responses: they are left out")
    shares = {i: found for share in gather_objects(correct) for i, found in share.items()}
    return [shares[i] for i in range(len(problems))]


def _kept(
    ctx: "RunContext", name: str, read: Callable[[Path], list[Response]]
) -> list[Response] | None:
    """What an earlier attempt wrote, which the first rank reads for all; None: nothing."""
    path = ctx.artifact_path(name)
    return gather_objects(read(path) if ctx.rank == 0 and path.is_file() else None)[0]


def _by_problem(responses: Sequence[Response], problems: Sequence[Problem]) -> list[list[Response]]:
    found: dict[str, list[Response]] = {problem.id: [] for problem in problems}
    for one in responses:
        found[one.id].append(one)
    return [found[problem.id] for problem in problems]


def _response(
    policy: Policy,
    problem: Problem,
    kind: Kind,
    prompt_ids: Sequence[int],
    token_ids: Sequence[int],
) -> Response:
    return Response(
        id=problem.id,
        kind=kind,
        prompt=tuple(dict(message) for message in problem.prompt),
        completion=completion_text(policy.tokenizer, token_ids, prompt_ids=prompt_ids),
        tokens=len(token_ids),
        token_ids=tuple(token_ids),
    )


def _solutions(
    ctx: "RunContext",
    problems: Sequence[Problem],
    unguided: Sequence[Sequence[Response]],
    config: SelfSFTConfig,
) -> list[str]:
    """What guides each problem: one of its correct responses, or the dataset's solution."""
    if config.solution_source == "dataset":
        return [problem.solution or "" for problem in problems]
    if config.response_choice == "first":
        return [found[0].completion for found in unguided]
    rng = ctx.rng("sft", "solution")
    return [found[int(rng.integers(len(found)))].completion for found in unguided]


def _sampling(config: SelfSFTConfig, ends: tuple[int, ...]) -> Sampling:
    return Sampling(
        num_samples=config.num_probes,
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        max_new_tokens=config.max_completion_length,
        batch_size=config.sampling_batch_size,
        end_token_ids=ends,
    )


def _share(found: Sequence[Sequence[Response]], total: int) -> float:
    return sum(map(len, found)) / max(1, total)


def statistics(responses: Sequence[Response], words: Sequence[str]) -> dict[str, Any]:
    """Sizes of the sets, and of each the mean length and words of a response."""
    found = {kind: of_kind(responses, kind) for kind in KINDS}
    return {
        "problems": len({response.id for response in responses}),
        "responses": {kind: len(of) for kind, of in found.items()},
        "tokens": {kind: fmean(r.tokens for r in of) for kind, of in found.items()},
        "epistemic_words": {
            kind: fmean(epistemic_words(r.completion, words) for r in of)
            for kind, of in found.items()
        },
        "epistemic_count": {
            kind: fmean(epistemic_count(r.completion, words) for r in of)
            for kind, of in found.items()
        },
    }
