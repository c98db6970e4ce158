"""What one STAIRS-Former update costs, against the same maths written plainly.

The plain form is `stairs_reference.py`: the published three passes over the padded batch. All arms
start from the same weights and take whole updates (dropout drawn, loss, backward pass, clipping,
Adam) on the same batches of random episodes, in turn. First losses and gradients are compared, and
the script stops where they differ. Then the network's gradients are compared with float64, and the
operations that torch's dispatcher sees are counted. Milliseconds are of this thread's CPU; on cuda,
of the clock.
"""

import argparse
import copy
import gc
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import harness
import numpy as np
import stairs_reference as reference
import torch
from lab_marl.environments import grid
from lab_marl.environments.smac_layout import smac_layout
from lab_marl.episodes.batches import Batch, make_batch
from lab_marl.episodes.episodes import Episodes
from lab_marl.episodes.layouts import Layout
from lab_marl.kernel.unroll import MOST_TAPE
from lab_marl.training.entity_features import EntityFeatures, entity_features, last_actions
from lab_stairs.config import StairsConfig
from lab_stairs.learner import StairsLearner
from lab_stairs.network import draw_kept_tokens
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

PEAK_GOALS_GB = {"cn-4": 1.0, "9m_vs_10m": 1.5}
EXACT = 2e-6
"""Largest error of a tensor's gradient over its largest element, against float64: the goal."""
COPIES = ("copy_", "_to_copy", "clone", "cat", "stack", "index", "constant_pad_nd")
TOLERANCE = 1e-4
"""Relative difference allowed between the losses, and between the gradients by their L2 norm."""
CN_2_LENGTHS = {1: 652, 2: 824, 3: 436, 4: 68, 5: 16, 6: 4}
"""Transitions of an episode of the published cn-2 expert data: how many of 2,000 have so many."""
EARLY_MEAN = 14
"""Mean transitions of a grid episode that succeeds; the other half runs to the limit."""
BATTLE_MEAN, BATTLE_DEVIATION, BATTLE_RANGE = 24.4, 2.6, (20, 38)
BATTLE_LIMIT_SHARE = 0.0235
"""Share of 3m episodes that run to the limit."""
LAYOUTS = {
    "cn-2": grid.layout("cn-2"),
    "cn-4": grid.layout("cn-4"),
    "3m": smac_layout("3m", family="smac", allies=3, enemies=3, episode_limit=60),
}
PEAK_LAYOUTS = {
    "cn-4": LAYOUTS["cn-4"],
    "9m_vs_10m": smac_layout("9m_vs_10m", family="smac", allies=9, enemies=10, episode_limit=150),
}
PEAK_LENGTHS = ("limit", "tape")
"""Transitions of every episode where peak memory is measured: the limit, or the most whose tape
the compiled kernel keeps for the way back. A longer batch keeps the tape of one slab only."""
MASKS = {mask: StairsConfig(bc_mask=mask) for mask in ("published", "filled")}
Kernel = Literal["torch", "cpp"]
KERNELS: tuple[Kernel, ...] = ("torch", "cpp")
Update = Callable[[Batch], object]
Gradients = list[torch.Tensor]
"""In float64, one for each parameter."""


class ReferenceLearner:
    """Whole updates of the reference; its target stays as it began."""

    def __init__(self, layout: Layout, config: StairsConfig, device: torch.device) -> None:
        self.config, self.generator = config, torch.Generator().manual_seed(0)
        self.online = reference.Networks(layout, config).to(device)
        self.target = copy.deepcopy(self.online)
        weights = self.online.parameters()
        self.optimizer = torch.optim.Adam(weights, lr=config.learning_rate, fused=True)

    def update(self, batch: Batch) -> None:
        keep = reference.draw_keep(batch, self.config.token_dropout, self.generator)
        total, _, _ = reference.loss(self.online, self.target, batch, keep, self.config)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.online.parameters(), self.config.max_grad_norm)
        self.optimizer.step()


def main() -> None:
    options = harness.parser("stairs_throughput", __doc__)
    options.add_argument("--tasks", nargs="+", choices=LAYOUTS, default=list(LAYOUTS))
    options.add_argument("--pairs", type=int, default=6, help="batches, each taken by every arm")
    options.add_argument("--batch-size", type=int, default=32, help="episodes")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--device", default="cpu")
    options.add_argument("--peak", choices=("reference", *KERNELS), help=argparse.SUPPRESS)
    options.add_argument(
        "--peak-task", choices=PEAK_LAYOUTS, default="cn-4", help=argparse.SUPPRESS
    )
    options.add_argument(
        "--peak-length", choices=PEAK_LENGTHS, default="limit", help=argparse.SUPPRESS
    )
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.peak:
        print(peak_gb(chosen))
        return
    before = harness.machine()
    # A child's peak is at least what its parent held when it began, so these come first.
    peaks = {
        "cn-4": {side: child_peak_gb(side, "cn-4", chosen) for side in ("reference", *KERNELS)},
        "9m_vs_10m": {
            "cpp": child_peak_gb("cpp", "9m_vs_10m", chosen),
            "cpp, longest tape": child_peak_gb("cpp", "9m_vs_10m", chosen, length="tape"),
        },
    }
    result = {
        "claim": f"peak memory stays under {PEAK_GOALS_GB} GB; see ratios for the speed",
        "peak_rss_gb": peaks,
        "goal_met": all(
            peak < PEAK_GOALS_GB[task]
            for task, sides in peaks.items()
            for side, peak in sides.items()
            if side.startswith("cpp")
        ),
        "options": vars(chosen) | {"out": None},
        "machine": before,
        "tasks": {},
    }
    for task in chosen.tasks:
        result["tasks"][task] = measure(LAYOUTS[task], chosen)
        harness.write(chosen.out, result)
    report(result)


def measure(layout: Layout, chosen: argparse.Namespace) -> dict[str, Any]:
    """Checks and times of one task, for both masks of the cloning term."""
    device = torch.device(chosen.device)
    batches = []
    for number in range(chosen.pairs):
        rng = np.random.default_rng([chosen.seed, number])
        episodes = random_episodes(layout, draw_lengths(layout, chosen.batch_size, rng), rng)
        batches.append(make_batch(layout, episodes, np.arange(len(episodes)), device=device))
    return {
        "frames": harness.spread([float(len(batch.counts)) for batch in batches]),
        "filled_share": harness.spread([float(batch.filled.mean()) for batch in batches]),
        "error": {kernel: float64_error(batches[0], kernel) for kernel in KERNELS},
        **{mask: measure_mask(config, batches, device) for mask, config in MASKS.items()},
    }


def measure_mask(
    config: StairsConfig, batches: list[Batch], device: torch.device
) -> dict[str, dict[str, Any]]:
    """The reference's times, then those of the learner with each of its kernels."""
    layout = batches[0].layout
    fast = {kernel: replace(config, kernel=kernel) for kernel in KERNELS}
    apart = {name: compare(config, its, batches[0]) for name, its in fast.items()}
    for name, differences in apart.items():
        if max(differences.values()) > TOLERANCE:
            raise AssertionError(f"{layout.task}, kernel={name}: differs by {differences}")
    arms: dict[str, Update] = {"reference": ReferenceLearner(layout, config, device).update}
    for name, its in fast.items():
        arms[name] = StairsLearner([layout], its, device=device).update
    times = interleave(arms, batches, device)
    asked = {name: operations(update, batches[0]) for name, update in arms.items()}
    rows: dict[str, dict[str, Any]] = {
        "reference": {"ms": harness.spread(times["reference"])} | asked["reference"]
    }
    for name in fast:
        ratios = [a / b for a, b in zip(times["reference"], times[name], strict=True)]
        spreads = {"ms": harness.spread(times[name]), "ratio": harness.spread(ratios)}
        rows[name] = spreads | {"relative_difference": apart[name]} | asked[name]
    return rows


def interleave(
    arms: dict[str, Update], batches: list[Batch], device: torch.device
) -> dict[str, list[float]]:
    """Milliseconds of one update of every arm on every batch; the order turns each time."""
    times: dict[str, list[float]] = {name: [] for name in arms}
    for update in arms.values():  # first use: allocator, caches
        update(batches[0])
    for number, batch in enumerate(batches):
        for name in list(arms)[:: 1 if number % 2 == 0 else -1]:
            gc.collect()
            began = seconds(device)
            arms[name](batch)
            times[name].append((seconds(device) - began) * 1e3)
    return times


def seconds(device: torch.device) -> float:
    if device.type == "cpu":
        return time.thread_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def compare(theirs: StairsConfig, ours: StairsConfig, batch: Batch) -> dict[str, float]:
    """Relative differences of the loss and of the whole gradient: same weights, same dropout."""
    torch.manual_seed(1)
    layout, device = batch.layout, batch.obs.device
    online, target = (reference.Networks(layout, theirs).to(device) for _ in range(2))
    learner = StairsLearner([layout], ours, device=device)
    for networks, network, mixer in (
        (online, learner.network, learner.mixer),
        (target, learner.target_network, learner.target_mixer),
    ):
        network.load_state_dict(reference.fast_names(networks.agent.state_dict()))
        mixer.load_state_dict(reference.fast_names(networks.mixer.state_dict()))
    keep = reference.draw_keep(batch, theirs.token_dropout, torch.Generator().manual_seed(1))
    expected, _, _ = reference.loss(online, target, batch, keep, theirs)
    rows = batch.filled.bool() | (ours.bc_mask == "published")
    got = learner.losses(batch, keep[rows]).total
    expected.backward()
    got.backward()
    gradient = flat_gradient(online.agent, rename=True), flat_gradient(online.mixer, rename=True)
    own = flat_gradient(learner.network), flat_gradient(learner.mixer)
    wanted, found = torch.cat(gradient), torch.cat(own)
    return {
        "loss": abs(got.item() / expected.item() - 1),
        "gradient": float((found - wanted).norm() / wanted.norm()),
    }


def float64_error(batch: Batch, kernel: Kernel) -> float:
    """Largest error of a gradient over the largest element of its tensor, against float64."""
    return largest_error(
        network_gradients(batch, kernel, torch.float32),
        network_gradients(batch, "torch", torch.float64),
    )


def network_gradients(batch: Batch, kernel: Kernel, dtype: torch.dtype) -> Gradients:
    """Of the agents' network, computed in `dtype` under token dropout, for fixed slopes at Q."""
    torch.manual_seed(1)
    config = replace(StairsConfig(bc_mask="filled"), kernel=kernel)
    learner = StairsLearner([batch.layout], config, device=batch.obs.device)
    rows = batch.packed()
    keep = draw_kept_tokens(batch.layout, batch.actions[rows], probability=0.1)
    learner.network.to(dtype)
    inputs = entity_features(batch.layout, batch.obs[rows], last_actions(batch)[rows], id_bits=4)
    inputs = EntityFeatures(*(part.to(dtype) for part in vars(inputs).values()))
    q = learner._trained_values(batch.layout, inputs, batch.counts, keep)
    slopes = torch.randn(q.shape, generator=torch.Generator().manual_seed(3))
    (q * slopes.to(dtype)).sum().backward()
    found = [weight.grad for weight in learner.network.parameters()]
    return [gradient.double() for gradient in found if gradient is not None]


def largest_error(found: Gradients, exact: Gradients) -> float:
    pairs = zip(found, exact, strict=True)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


class Count(TorchDispatchMode):
    """Counts the operations that reach the dispatcher, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names[func._schema.name.split("::")[-1]] += 1
        return func(*args, **(kwargs or {}))


def operations(update: Update, batch: Batch) -> dict[str, int]:
    """Operations of one update, and those among them that copy or put tensors together."""
    with Count() as count:
        update(batch)
    copies = sum(count.names[name] for name in COPIES)
    return {"operations": sum(count.names.values()), "copies": copies}


def flat_gradient(module: nn.Module, *, rename: bool = False) -> torch.Tensor:
    """All gradients as one vector, in the order of the fast network's names."""
    found = {name: weight.grad for name, weight in module.named_parameters()}
    grads = {name: grad for name, grad in found.items() if grad is not None}
    assert len(grads) == len(found)
    grads = reference.fast_names(grads) if rename else grads
    return torch.cat([grads[name].flatten() for name in sorted(grads)])


def draw_lengths(layout: Layout, episodes: int, rng: np.random.Generator) -> np.ndarray:
    """Transitions of each episode, distributed as in the published data sets."""
    limit = layout.episode_limit
    if layout.task == "cn-2":
        counts = np.array([*CN_2_LENGTHS.values()])
        return rng.choice([*CN_2_LENGTHS], episodes, p=counts / counts.sum())
    if not layout.attacks:
        early = 1 + rng.exponential(EARLY_MEAN - 1, episodes)
        lengths = np.minimum(early.astype(np.int64), limit - 1)
        return np.where(np.arange(episodes) < episodes // 2, lengths, limit)
    fought = rng.normal(BATTLE_MEAN, BATTLE_DEVIATION, episodes).round().clip(*BATTLE_RANGE)
    return np.where(rng.random(episodes) < BATTLE_LIMIT_SHARE, limit, fought.astype(np.int64))


def random_episodes(layout: Layout, lengths: np.ndarray, rng: np.random.Generator) -> Episodes:
    """Episodes of `lengths` transitions, all over at their end, whose contents mean nothing."""
    frames = np.arange(layout.episode_limit + 1)
    filled, terminated = frames <= lengths[:, None], frames == lengths[:, None] - 1
    n, a = layout.num_agents, layout.num_actions

    def noise(*shape: int) -> np.ndarray:
        made = rng.standard_normal((*filled.shape, *shape), np.float32)
        return made * filled.reshape(*filled.shape, *(1 for _ in shape))

    actions = rng.integers(0, a, (*filled.shape, n)) * filled[..., None]
    available = rng.random((*filled.shape, n, a)) < 0.5
    np.put_along_axis(available, actions[..., None], True, -1)
    return Episodes(
        obs=noise(n, layout.obs_size),
        state=noise(layout.state_size),
        actions=actions,
        avail_actions=available & filled[..., None, None],
        reward=noise(),
        terminated=terminated,
        truncated=np.zeros_like(terminated),
        filled=filled,
    )


def child_peak_gb(
    side: str, task: str, chosen: argparse.Namespace, *, length: str = "limit"
) -> float:
    """Greatest resident memory (GB) of a process of its own that takes two updates."""
    command = [sys.executable, __file__, "--peak", side, "--peak-task", task]
    command += ["--peak-length", length, "--device", chosen.device]
    command += ["--batch-size", str(chosen.batch_size), "--threads", str(chosen.threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def peak_gb(chosen: argparse.Namespace) -> float:
    """The same of this process; all episodes have the length that `--peak-length` names."""
    layout, device = PEAK_LAYOUTS[chosen.peak_task], torch.device(chosen.device)
    length = layout.episode_limit
    if chosen.peak_length == "tape":
        length = min(length, longest_kept(layout, chosen.batch_size))
    batch = equal_batch(layout, chosen.batch_size, length, seed=chosen.seed, device=device)
    if chosen.peak == "reference":
        update: Update = ReferenceLearner(layout, StairsConfig(), device).update
    else:
        update = StairsLearner([layout], StairsConfig(kernel=chosen.peak), device=device).update
    for _ in range(2):
        update(batch)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def longest_kept(layout: Layout, episodes: int) -> int:
    """The most transitions of `episodes` equal episodes whose tape the compiled kernel keeps.

    A step that updates the high-level history, the first of each period, keeps more than another.
    """
    period = StairsConfig().network.high_step
    of_period = tape_floats(layout, episodes, frames=period)
    updating = tape_floats(layout, episodes, frames=period + 1) - of_period
    other = (of_period - updating) // (period - 1)
    periods, left = divmod(MOST_TAPE, of_period)
    more = 1 + (left - updating) // other if left >= updating else 0
    return periods * period + more - 1


def tape_floats(layout: Layout, episodes: int, *, frames: int) -> int:
    """What one update keeps for its way back."""
    device = torch.device("cpu")
    learner = StairsLearner([layout], StairsConfig(kernel="cpp"), device=device)
    learner.update(equal_batch(layout, episodes, frames - 1, seed=0, device=device))
    assert learner.kernel is not None
    assert learner.kernel.spare is not None
    return learner.kernel.spare.numel()


def equal_batch(
    layout: Layout, episodes: int, length: int, *, seed: int, device: torch.device
) -> Batch:
    """A batch of episodes that all have `length` transitions, and so one frame more."""
    lengths, rng = np.full(episodes, length), np.random.default_rng(seed)
    made = random_episodes(layout, lengths, rng)
    return make_batch(layout, made, np.arange(episodes), device=device)


def report(result: dict[str, Any]) -> None:
    for task, found in result["tasks"].items():
        share = found["filled_share"]["median"]
        print(f"{task}: {found['frames']['median']:g} frames, {share:.0%} of them filled")
        for kernel, error in found["error"].items():
            print(f"  kernel={kernel}  error of a gradient {error:.1e}  (goal < {EXACT:.0e})")
        for mask in MASKS:
            rows = found[mask]
            print(f"  bc_mask={mask}  reference {harness.show(rows['reference']['ms'], ' ms')}")
            for name in KERNELS:
                row = rows[name]
                time_, ratio = harness.show(row["ms"], " ms"), harness.show(row["ratio"])
                print(
                    f"    kernel={name}  {time_}  ratio {ratio}  {row['operations']} operations, "
                    f"{row['copies']} copies"
                )
    for task, sides in result["peak_rss_gb"].items():
        shown = ", ".join(f"{side} {peak:.2f} GB" for side, peak in sides.items())
        print(f"peak memory, {task}: {shown}  (goal < {PEAK_GOALS_GB[task]} GB)")


if __name__ == "__main__":
    main()
