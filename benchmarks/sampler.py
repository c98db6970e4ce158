"""Tokens per second of lab_llm.sampling.sampler.sample and of transformers' generate.

The same weights and prompts, one thread, samplers alternating. Two conditions: `until_end`, as in
training (a row stops at its end token, up to 64 new tokens; only sampled tokens count), and
`all_64`, where no token ends a row. Batch: completions sampled at once, 8 for each prompt.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import harness
import torch
from lab_llm.datasets import countdown
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.policy import Policy, load_policy
from lab_llm.sampling.sampler import sample
from lab_llm.text.prompts import encode
from transformers import GenerationConfig
from transformers.utils import logging

GOAL = 1.3
PER_PROMPT = 8


@dataclass(frozen=True)
class Case:
    """One batch of prompts, and whether the end token ends a row."""

    policy: Policy
    prompts: Sequence[Sequence[int]]
    max_new_tokens: int
    ends: bool

    @property
    def pad(self) -> int:
        pad: Any = self.policy.tokenizer.pad_token_id
        return int(pad)

    @property
    def end(self) -> int:
        end: Any = self.policy.tokenizer.eos_token_id
        return int(end)


def ours(case: Case, seed: int) -> int:
    """Sampled tokens of the toolkit's decoder."""
    return sample(
        case.policy.model,
        case.prompts,
        num_samples=PER_PROMPT,
        max_new_tokens=case.max_new_tokens,
        eos_token_ids=[case.end] if case.ends else [],
        pad_token_id=case.pad,
        generator=torch.Generator().manual_seed(seed),
    ).num_tokens


def generate(case: Case, seed: int) -> int:
    """Sampled tokens of transformers' generate, end tokens among them."""
    longest = max(map(len, case.prompts))
    ids = torch.tensor([[case.pad] * (longest - len(p)) + list(p) for p in case.prompts])
    real = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in case.prompts])
    settings = GenerationConfig(
        max_new_tokens=case.max_new_tokens,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        num_return_sequences=PER_PROMPT,
        eos_token_id=case.end if case.ends else None,
        pad_token_id=case.pad,
    )
    torch.manual_seed(seed)
    model: Any = case.policy.model
    ids, real = ids.to(model.device), real.to(model.device)
    # generate takes what is None in its settings from the model's own.
    model.generation_config.eos_token_id = settings.eos_token_id
    with torch.inference_mode():
        rows = model.generate(ids, attention_mask=real, generation_config=settings)
    made = rows[:, longest:]
    if not case.ends:
        assert made.shape[1] == case.max_new_tokens
        return made.numel()
    ended = (made == case.end).int().cumsum(1)
    return int((ended - (made == case.end).int() == 0).sum())


def rate(sampler: Callable[[Case, int], int], case: Case, seed: int) -> float:
    began = time.perf_counter()
    tokens = sampler(case, seed)
    return tokens / (time.perf_counter() - began)


def measured(case: Case, repeats: int) -> dict[str, Any]:
    """Rates of both, alternating, and the ratio pair by pair."""
    samplers = {"ours": ours, "generate": generate}
    for sampler in samplers.values():
        rate(sampler, case, 0)
    rates: dict[str, list[float]] = {"ours": [], "generate": []}
    for repeat in range(repeats):
        for name in ("ours", "generate") if repeat % 2 == 0 else ("generate", "ours"):
            rates[name].append(rate(samplers[name], case, repeat + 1))
    ratios = [a / b for a, b in zip(rates["ours"], rates["generate"], strict=True)]
    spreads = {f"{name}_tokens_per_s": harness.spread(found) for name, found in rates.items()}
    return {**spreads, "ratio": harness.spread(ratios)}


def main() -> None:
    options = harness.parser("sampler", __doc__)
    options.add_argument("--batch", type=int, nargs="+", default=[32, 128, 256])
    options.add_argument("--max-new-tokens", type=int, default=64)
    options.add_argument("--repeats", type=int, default=9, help="pairs for each batch")
    options.add_argument("--model", default="tiny", help="as trainer.model.name")
    options.add_argument("--threads", type=int, default=1)
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    logging.disable_progress_bar()
    before = harness.machine()
    policy = load_policy(PolicyConfig(name=chosen.model))
    found: dict[str, dict[str, Any]] = {"until_end": {}, "all_64": {}}
    for condition, results in found.items():
        for batch in chosen.batch:
            problems = countdown.problems("in_domain", "train", batch // PER_PROMPT, 0)
            prompts = [encode(policy.tokenizer, p.prompt) for p in problems]
            case = Case(policy, prompts, chosen.max_new_tokens, ends=condition == "until_end")
            results[str(batch)] = one = measured(case, chosen.repeats)
            print(
                f"{condition:<9} batch {batch:>3}  ours {harness.show(one['ours_tokens_per_s'])}  "
                f"generate {harness.show(one['generate_tokens_per_s'])} tokens/s  "
                f"ratio {harness.show(one['ratio'])}",
                flush=True,
            )
    least = min(one["ratio"]["median"] for results in found.values() for one in results.values())
    met = least >= GOAL
    print(f"least median ratio: {least:.3g}  goal >= {GOAL}: {'met' if met else 'not met'}")
    claim = "the toolkit's sampler makes at least 1.3 times the tokens per second of generate"
    result = {"claim": claim, "goal": GOAL, "least_ratio": least, "goal_met": met}
    settings = {"options": vars(chosen) | {"out": None}, "machine": before}
    harness.write(chosen.out, result | {"conditions": found} | settings)


if __name__ == "__main__":
    main()
