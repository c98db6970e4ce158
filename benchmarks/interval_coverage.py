"""How often nominal 95% intervals hold the true value, at 3, 5 and 10 seeds, and what they cost.

Not about speed. Runs are simulated whose expected score is known: Bernoulli samples of problems
that differ in difficulty, by policies that differ from seed to seed. An interval speaks of the
method's expected score either on these problems (over new seeds), or on all problems of their kind
(over new seeds and new problems); each is checked against the one it is asked for. The table in
docs/results/statistics.md is what this prints.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import harness
import numpy as np
from labrun.results.statistics import suites
from labrun.results.statistics.bootstrap import (
    hierarchical,
    over_problems,
    percentiles,
    resamples,
)
from labrun.results.statistics.intervals import (
    Bounded,
    Interval,
    clustered_interval,
    crossed_interval,
    t_interval,
)
from scipy import special

SEEDS = (3, 5, 10)
GOAL = 0.90
"""Coverage below which a nominal 95% interval is marked."""
Ends = Interval | Bounded


@dataclass(frozen=True)
class World:
    """Deviations on the logit scale; p of a seed on a problem is sigmoid(mean + all of them)."""

    num_problems: int = 200
    num_samples: int = 4
    mean: float = 0.4
    seed: float = 0.2
    """A seed is better or worse on all problems: 0.2 is about 4 points of accuracy near 60%."""
    problem: float = 1.5
    """Some problems are solved almost always, others almost never."""
    both: float = 0.4
    """A seed happens to be good at a problem."""
    gain: float = 0.3
    """What the second method adds everywhere."""
    gain_problem: float = 0.4
    """How much that varies between problems."""

    def draw(self, num_seeds: int, rng: np.random.Generator) -> "Sample":
        problems = self.problem * rng.standard_normal(self.num_problems)
        gains = self.gain + self.gain_problem * rng.standard_normal(self.num_problems)
        theirs = self._runs(num_seeds, problems, rng)
        ours = self._runs(num_seeds, problems + gains, rng)
        shift = math.hypot(self.seed, self.both)
        return Sample(
            theirs,
            ours - theirs,
            _expected(self.mean + problems, shift).mean(),
            (
                _expected(self.mean + problems + gains, shift)
                - _expected(self.mean + problems, shift)
            ).mean(),
        )

    def _runs(self, num_seeds: int, problems: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        seeds = self.seed * rng.standard_normal((num_seeds, 1))
        both = self.both * rng.standard_normal((num_seeds, len(problems)))
        chances = _sigmoid(self.mean + problems + seeds + both)
        return rng.binomial(self.num_samples, chances) / self.num_samples

    def of_all(self) -> tuple[float, float]:
        """The expected score, and difference, over problems that are drawn anew."""
        shift = math.hypot(self.seed, self.both)
        spread = math.hypot(shift, self.problem)
        better = math.hypot(spread, self.gain_problem)
        first = float(_expected(np.array([self.mean]), spread)[0])
        return first, float(_expected(np.array([self.mean + self.gain]), better)[0]) - first


@dataclass(frozen=True)
class Sample:
    """Scores (S, P) of a method, differences to a second one, and what is expected of both here."""

    scores: np.ndarray
    differences: np.ndarray
    score: float
    difference: float


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(40)


def _expected(centres: np.ndarray, deviation: float) -> np.ndarray:
    """E sigmoid(centre + deviation * standard normal), by Gauss and Hermite."""
    return _sigmoid(centres[:, None] + deviation * NODES) @ WEIGHTS / math.sqrt(2 * math.pi)


Method = Callable[[np.ndarray, np.random.Generator], Ends]


def _over_seeds(scores: np.ndarray, rng: np.random.Generator) -> Bounded:
    means = scores.mean(1)
    low, high = percentiles(resamples(len(means), rng) @ means / len(means))
    return Bounded(float(means.mean()), float(low), float(high))


def _clustered(scores: np.ndarray, rng: np.random.Generator) -> Interval:
    problems = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    return clustered_interval(scores.ravel().tolist(), problems.ravel().tolist())


METHODS: Mapping[str, Method] = {
    "Student t over seeds": lambda x, rng: t_interval(x.mean(1).tolist()),
    "bootstrap over seeds": _over_seeds,
    "clustered by problem": _clustered,
    "bootstrap over problems": lambda x, rng: over_problems(x.mean(0)[:, None], rng)[0],
    "hierarchical bootstrap": hierarchical,
    "t over seeds and problems": lambda x, rng: crossed_interval(x),
}
ONE_SEED: Mapping[str, Method] = {
    "Student t over problems": lambda x, rng: t_interval(x[0].tolist()),
}


def covered(ends: Ends, value: float) -> bool:
    return ends.low <= value <= ends.high


def of_means(
    world: World, num_seeds: int, repeats: int, rng: np.random.Generator, *, less: bool
) -> dict[str, dict[str, float]]:
    """Method -> coverage on these problems, on all problems, and the median width."""
    methods = METHODS if num_seeds > 1 else ONE_SEED
    everywhere = world.of_all()[less]
    hits = {name: [0, 0] for name in methods}
    widths: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(repeats):
        sample = world.draw(num_seeds, rng)
        scores, here = (
            (sample.differences, sample.difference) if less else (sample.scores, sample.score)
        )
        for name, method in methods.items():
            ends = method(scores, rng)
            hits[name][0] += covered(ends, here)
            hits[name][1] += covered(ends, everywhere)
            widths[name].append(ends.high - ends.low)
    return {
        name: {
            "these problems": hits[name][0] / repeats,
            "all problems": hits[name][1] / repeats,
            "width": float(np.median(widths[name])),
        }
        for name in methods
    }


def of_suites(num_runs: int, repeats: int, rng: np.random.Generator) -> dict[str, float]:
    """Coverage of the stratified bootstrap on 10 tasks whose runs' scores are beta distributed."""
    tasks = np.linspace(0.15, 0.9, 10)
    concentration = 8.0

    def draw(size: int, shift: float) -> np.ndarray:
        centres = np.clip(tasks + shift, 0.05, 0.95)
        return rng.beta(centres * concentration, (1 - centres) * concentration, size=(size, 10))

    true_iqm = float(suites.iqm(draw(200_000, 0.0)))
    first, second = draw(3000, 0.08), draw(3000, 0.0)
    true_chance = suites.probability_of_improvement(first, second)
    hits = np.zeros(2)
    for _ in range(repeats):
        scores, better = draw(num_runs, 0.0), draw(num_runs, 0.08)
        found = (
            covered(suites.bounded(scores, suites.iqm, rng), true_iqm),
            covered(suites.bounded_improvement(better, scores, rng), true_chance),
        )
        hits += found
    return dict(zip(("IQM", "probability of improvement"), (hits / repeats).tolist(), strict=True))


RHO = 0.5
"""Correlation of the scores of one run on two tasks."""


def of_shared_runs(num_runs: int, repeats: int, rng: np.random.Generator) -> dict[str, float]:
    """Coverage on 4 tasks that the same runs were scored on, as `lab compare` has them.

    Scores are beta distributed on each task, tied within a run by a Gaussian copula.
    """
    centres = np.array([0.2, 0.4, 0.6, 0.8])

    def draw(size: int, shift: float) -> np.ndarray:
        shared, own = rng.standard_normal((size, 1)), rng.standard_normal((size, 4))
        levels = special.ndtr(math.sqrt(RHO) * shared + math.sqrt(1 - RHO) * own)
        means = np.clip(centres + shift, 0.05, 0.95)
        return special.betaincinv(30 * means, 30 * (1 - means), levels)

    many = draw(40_000, 0.0)
    true_iqm, true_mean = float(suites.iqm(many)), float(many.mean())
    first, second = draw(3000, 0.04), draw(3000, 0.0)
    true_chance = suites.probability_of_improvement(first, second)
    hits = np.zeros(5)
    for _ in range(repeats):
        scores, better = draw(num_runs, 0.0), draw(num_runs, 0.04)
        alike = [0] * 4
        hits += (
            covered(t_interval(scores.mean(1).tolist()), true_mean),
            covered(suites.bounded(scores, suites.iqm, rng, together=alike), true_iqm),
            covered(suites.bounded(scores, suites.iqm, rng), true_iqm),
            covered(suites.bounded_improvement(better, scores, rng, together=alike), true_chance),
            covered(suites.bounded_improvement(better, scores, rng), true_chance),
        )
    names = (
        "mean, Student t over seeds",
        "IQM, seeds drawn with all their tasks",
        "IQM, tasks drawn apart",
        "better than the baseline, seeds drawn with all their tasks",
        "better than the baseline, tasks drawn apart",
    )
    return dict(zip(names, (hits / repeats).tolist(), strict=True))


def print_suites(title: str, found: Mapping[str, Mapping[str, float]]) -> None:
    print(f"\n| {title} | " + " | ".join(f"{n} runs" for n in found) + " |")
    print("|---|" + "---|" * len(found))
    for name in next(iter(found.values())):
        print(f"| {name} | " + " | ".join(marked(cells[name]) for cells in found.values()) + " |")


def marked(coverage: float) -> str:
    return f"{100 * coverage:.1f}%" + (" (below 90%)" if coverage < GOAL else "")


def print_means(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    names = dict.fromkeys(name for cells in found.values() for name in cells)
    for target in ("these problems", "all problems"):
        print(
            f"\n| interval, for {target} | "
            + " | ".join(f"{s} seed{'s' * (s != '1')}" for s in found)
            + " |"
        )
        print("|---|" + "---|" * len(found))
        for name in names:
            cells = (marked(cells[name][target]) for cells in found.values())
            print(f"| {name} | " + " | ".join(cells) + " |")
    print("\nmedian width")
    for name in names:
        widths = "  ".join(f"{cells[name]['width']:.3f}" for cells in found.values())
        print(f"  {name:<28}{widths}")


def main() -> None:
    options = harness.parser("interval_coverage", __doc__)
    options.add_argument("--repeats", type=int, default=600, help="Simulated studies a cell.")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--shared", action="store_true", help="Only tasks of the same runs.")
    chosen = options.parse_args()
    before, began = harness.machine(), time.perf_counter()
    rng, world = np.random.default_rng(chosen.seed), World()
    found: dict[str, object] = {}
    settings = {"options": vars(chosen) | {"out": None}, "machine": before}
    if chosen.shared:
        shared = {str(n): of_shared_runs(n, chosen.repeats, rng) for n in SEEDS}
        print_suites("4 tasks of the same runs", shared)
        harness.write(chosen.out, {"shared": shared, "correlation": RHO} | settings)
        return
    for title, less in (("scores", False), ("paired differences", True)):
        cells = {str(n): of_means(world, n, chosen.repeats, rng, less=less) for n in SEEDS}
        one = of_means(world, 1, chosen.repeats, rng, less=less)
        print(f"\n{title}: coverage of nominal 95% intervals, {chosen.repeats} studies a cell")
        print_means(cells)
        print_means({"1": one})
        found[title] = cells | {"1": one}
    tasks = {str(n): of_suites(n, chosen.repeats, rng) for n in SEEDS}
    print_suites("stratified bootstrap, 10 tasks", tasks)
    print(f"\n{time.perf_counter() - began:.0f} s")
    claim = "a nominal 95% interval that `lab compare` prints covers at least 90%"
    result = {"claim": claim, "coverage": found, "suites": tasks, "world": vars(world)}
    harness.write(chosen.out, result | settings)


if __name__ == "__main__":
    main()
