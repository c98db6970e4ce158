"""Success rates out of n samples a problem."""

from collections.abc import Sequence

import numpy as np


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """The chance that k of the n samples, drawn without replacement, hold a correct one.

    `1 - C(n-c, k) / C(n, k)`, the unbiased estimator of pass@k (arXiv 2107.03374, eq. 1), as the
    product over i = n-c+1..n of `1 - k/i`, which no large binomial enters.

    Raises ValueError for k < 1, k > n, c < 0 or c > n.
    """
    if not 1 <= k <= num_samples:
        raise ValueError(f"pass@{k} of {num_samples} samples: k must be 1 to {num_samples}")
    if not 0 <= num_correct <= num_samples:
        raise ValueError(f"{num_correct} correct of {num_samples} samples")
    none_correct = 1.0
    for i in range(num_samples - num_correct + 1, num_samples + 1):
        none_correct *= max(0.0, 1.0 - k / i)
    return 1.0 - none_correct


def avg_at_k(rewards: Sequence[float]) -> float:
    """The mean reward of one problem's samples (avg@k of k samples). Raises ValueError for none."""
    if not rewards:
        raise ValueError("avg@k of no samples")
    return sum(rewards) / len(rewards)


def powers_of_two(largest: int) -> tuple[int, ...]:
    """1, 2, 4, ... and last `largest` itself."""
    return (*(2**i for i in range((largest - 1).bit_length())), largest)


def pass_at_each(num_samples: int, num_correct: Sequence[int], ks: Sequence[int]) -> np.ndarray:
    """pass@k of each problem, (P, number of ks): what `bootstrap.over_problems` takes.

    num_correct: (P,), of `num_samples` samples of each problem.
    """
    return np.array([[pass_at_k(num_samples, c, k) for k in ks] for c in num_correct])
