"""Completions graded a second by the grader processes, against math-verify called plainly.

Ordinary answers: integers, fractions, roots, polynomials, pairs and decimals, half of them right.
Each block grades the same completions three ways: math-verify in this process (parse the gold,
parse the completion, verify; its own timeouts off), one grader, two graders; a pool sends batches
of 64.
"""

import logging
import random
import time
from collections.abc import Callable
from typing import Any

import harness
from lab_llm.grading.pool import GraderPool
from lab_llm.grading.verifiers import LIMIT_S, verify_math

GOAL = 0.9

Pairs = list[tuple[str, str]]


def ordinary(num: int, seed: int) -> Pairs:
    """(gold, completion), of six kinds in turn; every second answer is wrong by one."""
    draw = random.Random(seed)
    kinds: list[Callable[[int, int], str]] = [
        lambda a, b: f"{a * b}",
        lambda a, b: f"\\frac{{{a}}}{{{b}}}",
        lambda a, b: f"{a}\\sqrt{{{b}}}",
        lambda a, b: f"x^2 - {a}x + {b}",
        lambda a, b: f"({a}, {b})",
        lambda a, b: f"{a}.{b}",
    ]
    pairs: Pairs = []
    for index in range(num):
        a, b = draw.randint(2, 9999), draw.randint(2, 999)
        write = kinds[index % len(kinds)]
        answer = write(a + index // len(kinds) % 2, b)
        pairs.append(
            (write(a, b), f"We compute step by step. So the answer is $\\boxed{{{answer}}}$.")
        )
    return pairs


def plainly(pairs: Pairs) -> list[float]:
    from math_verify import parse, verify

    off: dict[str, Any] = {"parsing_timeout": None, "raise_on_error": False}
    return [
        float(
            verify(
                parse(f"\\boxed{{{gold}}}", **off),
                parse(text, **off),
                timeout_seconds=None,
                raise_on_error=False,
            )
        )
        for gold, text in pairs
    ]


def pooled(pool: GraderPool, pairs: Pairs) -> list[float]:
    return [one.reward for one in pool.grade_all(pairs)]


def main() -> None:
    options = harness.parser("grading", __doc__)
    options.add_argument("--completions", type=int, default=1536, help="of each block")
    options.add_argument("--blocks", type=int, default=5)
    chosen = options.parse_args()
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    before = harness.machine()
    rule = verify_math.pool.rule
    pools = {f"{n} grader(s)": GraderPool(rule, limit_s=LIMIT_S, num_workers=n) for n in (1, 2)}
    ways: dict[str, Callable[[Pairs], list[float]]] = {"math-verify": plainly}
    ways |= {name: lambda pairs, pool=pool: pooled(pool, pairs) for name, pool in pools.items()}
    check_equal(ways)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for block in range(chosen.blocks):
        pairs = ordinary(chosen.completions, seed=block)
        for name in list(ways) if block % 2 == 0 else list(ways)[::-1]:
            began = time.perf_counter()
            ways[name](pairs)
            rates[name].append(len(pairs) / (time.perf_counter() - began))
    for pool in pools.values():
        pool.close()
    plain = rates["math-verify"]
    ratios = {
        name: harness.spread([r / p for r, p in zip(rates[name], plain, strict=True)])
        for name in pools
    }
    for name, found in rates.items():
        print(f"{name:<12} {harness.show(harness.spread(found), ' completions/s')}")
    for name, found in ratios.items():
        print(f"{name} / math-verify: {harness.show(found)}")
    met = ratios["1 grader(s)"]["median"] >= GOAL
    print(f"goal >= {GOAL} with one grader: {'met' if met else 'not met'}")
    result = {
        "claim": "one grader in batches of 64 reaches 0.9 of plain math-verify's throughput",
        "goal": GOAL,
        "goal_met": met,
        "completions_per_s": {name: harness.spread(found) for name, found in rates.items()},
        "ratio_to_math_verify": ratios,
    }
    settings = {"options": vars(chosen) | {"out": None}, "machine": before}
    harness.write(chosen.out, result | settings)


def check_equal(ways: dict[str, Callable[[Pairs], list[float]]]) -> None:
    """Stop where the ways do not give the same grades; also starts the graders."""
    pairs = ordinary(240, seed=99)
    grades = {name: way(pairs) for name, way in ways.items()}
    expected = [float(index // 6 % 2 == 0) for index in range(len(pairs))]
    for name, found in grades.items():
        if found != expected:
            wrong = next(i for i in range(len(pairs)) if found[i] != expected[i])
            raise SystemExit(f"{name} grades {pairs[wrong]} as {found[wrong]}")


if __name__ == "__main__":
    main()
