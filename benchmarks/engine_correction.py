"""What the correction of two engines' rounding drops, by length of rollouts.

The shipped model samples in bfloat16 with a key-value cache, as an inference engine does, without
stopping at end tokens. The trainer's pass scores the same tokens with float32 weights and bfloat16
products. Rollouts longer than the model's context are pieced together of the tokens' log ratios.
`sequence_mask` weighs a rollout by its ratio, and drops it above the clip; `token_truncate` weighs
tokens, and clips a token's ratio. What the weights leave is (sum w)^2 / (B sum w^2), a share of the
B rollouts.
The small model stands in for the rounding of a large one, which may be larger.
"""

import math

import harness
import torch
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.policy import load_policy
from lab_llm.sampling.sampler import sample
from lab_llm.text.prompts import encode
from torch import Tensor

LENGTHS = (64, 512, 2048, 8192, 20480)
QUESTION = "nums 5 2 1 make 6"
SEQUENCE_CLIP, TOKEN_CLIP = 3.0, 2.0


def main() -> None:
    parser = harness.parser("engine_correction", __doc__)
    parser.add_argument("--rollouts", type=int, default=32, help="sampled (count)")
    parser.add_argument("--tokens", type=int, default=960, help="of each (count)")
    arguments = parser.parse_args()
    before = harness.machine()
    ratios = log_ratios(arguments.rollouts, arguments.tokens)
    found = [of_length(ratios, length) for length in LENGTHS]
    spread = ratios.std().item()
    print(f"log ratio of a token: standard deviation {spread:.4f}, mean {ratios.mean().item():.2e}")
    for one in found:
        print("  ".join(f"{name} {value:.3g}" for name, value in one.items()))
    facts = {"rollouts": arguments.rollouts, "tokens": arguments.tokens, "deviation": spread}
    harness.write(arguments.out, {"claim": __doc__, "machine": before, **facts, "lengths": found})


def log_ratios(num_rollouts: int, num_tokens: int) -> Tensor:
    """log p by the trainer's pass less log p by the engine, of each sampled token (B, T)."""
    engine, trainer = (load_policy(PolicyConfig(dtype=d)) for d in ("bfloat16", "float32"))
    prompt = encode(engine.tokenizer, [{"role": "user", "content": QUESTION}])
    samples = sample(
        engine.model,
        [prompt],
        num_samples=num_rollouts,
        max_new_tokens=num_tokens,
        eos_token_ids=(),
        pad_token_id=0,
        generator=torch.Generator().manual_seed(0),
    )
    tokens = torch.tensor(samples.completion_ids)
    ids = torch.cat([torch.tensor([prompt]).expand(num_rollouts, -1), tokens], 1)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = trainer.model(ids).logits[:, len(prompt) - 1 : -1].float()
    scored = logits.log_softmax(-1).gather(2, tokens[..., None])[..., 0]
    return scored - torch.tensor(samples.logprobs)


def of_length(ratios: Tensor, length: int) -> dict[str, float]:
    """Shares of what each rule changes in rollouts of so many tokens (fractions)."""
    if length <= ratios.shape[1]:
        rollouts = ratios[:, :length]
    else:
        generator = torch.Generator().manual_seed(0)
        rows = torch.randint(ratios.numel(), (1024, length), generator=generator)
        rollouts = ratios.flatten()[rows]
    sums = rollouts.sum(1)
    kept = sums <= math.log(SEQUENCE_CLIP)
    weights = sums.exp() * kept
    return {
        "length": length,
        "dropped by sequence_mask": 1 - kept.float().mean().item(),
        "a rollout's median weight": sums.exp().median().item(),
        "rollouts that the weights leave": (weights.sum() ** 2 / (weights**2).sum()).item()
        / len(weights),
        "tokens cut by token_truncate": (rollouts > math.log(TOKEN_CLIP)).float().mean().item(),
    }


if __name__ == "__main__":
    main()
