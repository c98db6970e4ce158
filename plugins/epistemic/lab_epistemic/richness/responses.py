"""Graded responses to one prompt a problem: sampled, and kept in a file a stage."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lab_llm.distributed.ranks import gather_objects
from lab_llm.distributed.stopping import (
    StopPoints,
    own_stop_points,
    stop_if_asked,
    stop_points,
)
from lab_llm.grading.grades import grade_all
from lab_llm.policy.engine import Sampling, Share
from lab_llm.policy.policy import Policy
from lab_llm.problems import Problem, Verify
from lab_llm.sampling.batch_engines import end_tokens
from lab_llm.text.completion_text import completion_text
from labrun import LabError

from lab_epistemic.richness.config import RichnessConfig
from lab_epistemic.richness.contexts import Shown, shown

if TYPE_CHECKING:
    from lab_llm.policy.engine import Engine
    from labrun.runs.context import RunContext

FOLDER = "richness"


@dataclass(frozen=True)
class Response:
    """One response; `tokens` counts its end token, `reward` is 1 where it is correct."""

    text: str
    tokens: int
    reward: float

    @property
    def correct(self) -> bool:
        return self.reward == 1.0


@dataclass(frozen=True)
class Asked:
    """One problem, what it was asked with, and the responses."""

    problem: Problem
    context: str | None
    truncated: bool
    responses: Sequence[Response]

    @property
    def correct(self) -> list[str]:
        """The texts of the correct responses, in order."""
        return [response.text for response in self.responses if response.correct]


@dataclass(frozen=True)
class Interview:
    """Asks stage after stage of one evaluation; each stage has a seed and a file of its own."""

    ctx: "RunContext"
    policy: Policy
    engine: "Engine"
    verify: Verify
    config: RichnessConfig
    template: str
    longest: int
    """Of a prompt with its response (tokens)."""

    def ask(
        self,
        stage: str,
        problems: Sequence[Problem],
        contexts: Sequence[str | None],
        *,
        num_samples: int,
    ) -> list[Asked]:
        """`num_samples` responses to each problem, shown its context (None: unguided).

        The same on all ranks, each of which samples its share; the first writes them at once.

        An earlier attempt of this evaluation that got as far is read instead. Raises LabError for
        a prompt that leaves no room for a response, PreemptedError where the run is to stop.
        """
        name = f"{FOLDER}/{stage}.jsonl"
        pairs = zip(problems, contexts, strict=True)
        parts = [self._shown(problem, context) for problem, context in pairs]
        kept = _read(self.ctx.artifact_path(name), self.ctx.step) if self.ctx.rank == 0 else None
        found = gather_objects(kept)[0]
        if found is None:
            stop_if_asked(self.ctx, before=f"the responses of {stage!r} were sampled")
            found = self._sample(stage, problems, [part.prompt for part in parts], num_samples)
        asked = [
            Asked(problem, part.context, part.truncated, responses)
            for problem, part, responses in zip(problems, parts, found, strict=True)
        ]
        if self.ctx.rank == 0 and kept is None:
            self.ctx.write_text(name, _lines(asked, step=self.ctx.step))
        return asked

    def _shown(self, problem: Problem, context: str | None) -> Shown:
        return shown(
            self.policy.tokenizer,
            problem,
            context,
            template=self.template,
            longest_prompt=self.longest - self.config.max_new_tokens,
        )

    def _sample(
        self,
        stage: str,
        problems: Sequence[Problem],
        prompts: Sequence[Sequence[int]],
        num_samples: int,
    ) -> list[list[Response]]:
        self._check_room(problems, prompts)
        ctx, size = self.ctx, max(1, self.config.batch_size // num_samples)
        sampling = _sampling(self.config, num_samples, end_tokens(self.policy))
        with stop_points(ctx, len(prompts), size, work=f"sampling {stage!r}") as beat:
            mine = self.engine.sample(
                prompts,
                sampling,
                seed=ctx.derive_seed("richness", stage),
                share=Share(ctx.rank, ctx.world_size),
                beat=beat,
            )
        with own_stop_points(ctx, len(mine), size, work=f"grading {stage!r}") as beat:
            graded = self._graded(problems, prompts, mine, batch_size=size, beat=beat)
        shares = {i: found for share in gather_objects(graded) for i, found in share.items()}
        return [shares[i] for i in range(len(problems))]

    def _graded(
        self,
        problems: Sequence[Problem],
        prompts: Sequence[Sequence[int]],
        sampled: Mapping[int, Sequence[Sequence[int]]],
        *,
        batch_size: int,
        beat: StopPoints,
    ) -> dict[int, list[Response]]:
        """The responses at these places, graded `batch_size` problems at a time."""
        tokenizer, places = self.policy.tokenizer, [*sampled]
        graded: dict[int, list[Response]] = {}
        timeouts = 0
        for start in range(0, len(places), batch_size):
            batch = [(i, ids) for i in places[start : start + batch_size] for ids in sampled[i]]
            texts = [completion_text(tokenizer, ids, prompt_ids=prompts[i]) for i, ids in batch]
            grades = grade_all(self.verify, [problems[i] for i, _ in batch], texts)
            timeouts += sum(grades.timed_out)
            for (i, ids), text, reward in zip(batch, texts, grades.rewards, strict=True):
                graded.setdefault(i, []).append(Response(text, len(ids), reward))
            beat()
        if timeouts := sum(gather_objects(timeouts)):
            self.ctx.note(f"the grader ran out of time for {timeouts} responses: reward 0")
        return graded

    def _check_room(self, problems: Sequence[Problem], prompts: Sequence[Sequence[int]]) -> None:
        new = self.config.max_new_tokens
        for problem, prompt in zip(problems, prompts, strict=True):
            if len(prompt) + new > self.longest:
                raise LabError(
                    f"the prompt of {problem.id} takes {len(prompt)} tokens, and with "
                    f"evaluator.richness.max_new_tokens={new} more than the model's "
                    f"{self.longest}; lower max_new_tokens"
                )


def _sampling(config: RichnessConfig, num_samples: int, ends: tuple[int, ...]) -> Sampling:
    return Sampling(
        num_samples=num_samples,
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        max_new_tokens=config.max_new_tokens,
        batch_size=config.batch_size,
        end_token_ids=ends,
    )


def _read(path: Path, step: int) -> list[list[Response]] | None:
    """The responses of a stage, problem by problem, where the file is of this step."""
    if not path.is_file():
        return None
    # Not splitlines(): a response may hold U+2028 or U+0085, which JSON leaves as they are.
    text = path.read_text(encoding="utf-8").removesuffix("\n")
    lines = [json.loads(line) for line in text.split("\n")]
    if any(line["step"] != step for line in lines):
        return None
    found: list[list[Response]] = []
    for line in lines:
        if line["sample"] == 0:
            found.append([])
        found[-1].append(Response(line["completion"], line["tokens"], line["correct"]))
    return found


def _lines(asked: Sequence[Asked], *, step: int) -> str:
    """One line a response, problems in order."""
    lines: list[Mapping[str, object]] = [
        {
            "id": one.problem.id,
            "sample": sample,
            "prompt": [dict(message) for message in one.problem.prompt],
            "gold": one.problem.answer,
            "completion": response.text,
            "tokens": response.tokens,
            "reward": response.reward,
            "correct": response.reward,
            "context": one.context,
            "truncated": one.truncated,
            "step": step,
        }
        for one in asked
        for sample, response in enumerate(one.responses)
    ]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
