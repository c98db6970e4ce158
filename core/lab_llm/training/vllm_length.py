"""The longest sequence that the vLLM of a run meets: of its rollouts, or of an evaluation."""

from collections.abc import Iterable

from lab_llm.policy.engine import Samples
from lab_llm.policy.policy import KnownPolicy
from lab_llm.problems import ProblemSets
from lab_llm.text.prompts import encode
from lab_llm.training.config import GRPOSettings


def longest_sequence(
    policy: KnownPolicy, sets: ProblemSets, settings: GRPOSettings, evaluators: Iterable[object]
) -> int:
    """Longest prompt with its completion (tokens), at most the model's context.

    Evaluations in the run sample with the same vLLM.
    """
    prompt = settings.max_prompt_length
    if prompt is None:
        prompt = max((len(encode(policy.tokenizer, p.prompt)) for p in sets.train), default=0)
    longest = [prompt + settings.max_completion_length]
    longest += [one.most_tokens(policy, sets) for one in evaluators if isinstance(one, Samples)]
    limit = getattr(policy.config, "max_position_embeddings", None)
    return min(max(longest), limit or max(longest))
