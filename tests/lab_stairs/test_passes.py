"""An update of all frames, as a CUDA graph takes it, against the update of the episodes' frames."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from lab_marl.kernel.choice import Choice
from lab_stairs.config import MixerConfig, NetworkConfig, StairsConfig
from lab_stairs.learner import METRICS, StairsLearner
from lab_stairs.passes import bootstrap
from stairs_cases import grid_layout, marine_layout, random_batch
from torch.utils._python_dispatch import TorchDispatchMode

LAYOUTS = {"cn-3": grid_layout(3), "3m": marine_layout(3, 4)}
LENGTHS = [9, 6, 6, 2]
SMALL = {
    "network": NetworkConfig(width=8, ffn_factor=2),
    "mixer": MixerConfig(entity_width=8, attention_width=4, hyper_width=8, mixing_width=4),
}
READS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select")
"""Operations that bring something back from a GPU."""
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def learner(layout, path: str, device: str = "cpu", **settings) -> StairsLearner:
    torch.manual_seed(0)
    config = StairsConfig(kernel="torch", **SMALL, **settings)
    made = StairsLearner([layout], config, device=torch.device(device))
    with torch.no_grad():  # no gradient is zero by the start's symmetry
        for weight in [*made.parameters, *made.target_network.parameters()]:
            weight += 0.02 * torch.randn_like(weight)
    made._take(Choice(path, "test"))
    return made


def in_float64(made: StairsLearner, batch):
    for part in (made.network, made.target_network, made.mixer, made.target_mixer):
        part.double()
    floats = {
        n: v.double() for n, v in vars(batch).items() if getattr(v, "dtype", 0) == torch.float32
    }
    return type(batch)(**{**vars(batch), **floats})


@pytest.mark.parametrize(
    ("transitions", "ends", "frames"),
    [
        ([3, 3], [True, True], [3, 3]),
        ([3, 3], [False, False], [4, 4]),  # nothing ended: the frame after the last is read
        ([3, 2], [True, False], [3, 3]),
        ([3, 3], [True, False], [4, 4]),  # rows of a step are those of the first episodes
        ([3, 3], [False, True], [4, 3]),
    ],
)
def test_bootstrap_leaves_out_the_frame_after_a_terminal_transition(transitions, ends, frames):
    batch = random_batch(LAYOUTS["cn-3"], transitions, cut=True)
    terminated = torch.zeros_like(batch.terminated)
    for episode, (last, ended) in enumerate(zip(transitions, ends, strict=True)):
        terminated[last - 1, episode] = float(ended)
    rows = bootstrap(replace(batch, terminated=terminated))
    assert rows.inside.sum(0).tolist() == frames
    assert rows.counts == tuple(rows.inside.sum(1).tolist())
    for inside in rows.inside:
        assert inside.tolist() == sorted(inside.tolist(), reverse=True)


@pytest.mark.parametrize("cut", [False, True], ids=["ended", "cut off"])
@pytest.mark.parametrize("bc_mask", ["published", "filled"])
@pytest.mark.parametrize("task", LAYOUTS)
def test_all_frames_and_padding_give_the_losses_of_the_episodes_frames(task, bc_mask, cut):
    layout = LAYOUTS[task]
    batch = random_batch(layout, LENGTHS, cut=cut)
    plain, whole = (learner(layout, path, bc_mask=bc_mask) for path in ("torch", "cuda_graph"))
    longer = batch.lengthened(len(batch.filled) + 3)
    keep = whole.draw_kept(longer)
    grid = keep.unflatten(0, longer.filled.shape)[: len(batch.filled)]
    kept = grid.flatten(0, 1) if bc_mask == "published" else grid[batch.packed()]
    for made in (plain, whole):
        used, drawn = (batch, kept) if made is plain else (longer, keep)
        found = made._gradients(in_float64(made, used), drawn)
        values = dict(zip(METRICS, found.tolist(), strict=True))
        if made is plain:
            wanted = values
    assert values == pytest.approx(wanted, rel=1e-10)
    for a, b in zip(whole.parameters, plain.parameters, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-8, atol=1e-12)


class Reads(TorchDispatchMode):
    """Counts the operations that would make the program wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.__name__.split(".")[0]
        looked_up = name in ("index", "index_put", "index_put_") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if name in READS or looked_up:
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("settings", [{}, {"bc_mask": "filled"}, {"bc_form": "q_value"}])
def test_a_graph_reads_nothing_back_from_the_gpu(settings):
    layout = LAYOUTS["3m"]
    batch = random_batch(layout, LENGTHS)
    counted = {}
    for path in ("torch", "cuda_graph"):
        made = learner(layout, path, **settings)
        keep = made.draw_kept(batch)
        with Reads() as reads:
            made._gradients(batch, keep)
        counted[path] = sum(reads.found.values())
    assert counted["torch"] > 0
    assert counted["cuda_graph"] == 0


class Called:
    """A recorder without a GPU: it calls again, and writes where the first call wrote."""

    def __init__(self, made: StairsLearner) -> None:
        self.parameters = made.parameters

    def __call__(self, call, others):
        found = call()
        gradients = [weight.grad for weight in self.parameters]

        def replay() -> None:
            found.copy_(call())
            for into, weight in zip(gradients, self.parameters, strict=True):
                if into is not None:
                    into.copy_(weight.grad)
                weight.grad = None  # a graph writes its memory, and knows no parameters

        return SimpleNamespace(replay=replay), found


def trained(made: StairsLearner, device: str) -> list[dict[str, float]]:
    """Twelve updates on batches of three lengths and two sizes, so that each record is replayed
    after the others; equal tokens are dropped in each learner.

    In float64: Adam makes a step of a gradient that is 0 but for rounding, as the query's bias has.
    """
    found = []
    for step in range(12):
        lengths = ([9, 6, 6, 2], [4, 4, 3, 1], [11, 2, 2, 2], [4, 3])[step % 4]
        batch = random_batch(made.layouts[0], lengths, seed=step)
        moved = {n: v.to(device) for n, v in vars(batch).items() if torch.is_tensor(v)}
        batch = in_float64(made, type(batch)(**{**vars(batch), **moved}))
        torch.manual_seed(step)
        found.append(made.update(batch))
    return found


SETTINGS = [
    {"bc_mask": "published", "token_dropout": 0.3},
    {"bc_mask": "published", "token_dropout": 0.0},
    {"bc_mask": "filled", "token_dropout": 0.0},
]
"""With the mask `filled` the paths draw for other frames, so their dropped tokens differ."""


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("task", LAYOUTS)
def test_recorded_updates_train_as_called_ones_do(task, settings):
    plain, graphed = (
        learner(LAYOUTS[task], path, target_update_every=2, **settings)
        for path in ("torch", "cuda_graph")
    )
    graphed.graphs.recorder = Called(graphed)
    assert_alike(plain, graphed, "cpu")


@needs_gpu
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("task", LAYOUTS)
def test_graphs_train_as_torch_does_on_a_gpu(task, settings):
    plain, graphed = (
        learner(LAYOUTS[task], path, "cuda", target_update_every=2, **settings)
        for path in ("torch", "cuda_graph")
    )
    assert_alike(plain, graphed, "cuda")


def assert_alike(plain: StairsLearner, graphed: StairsLearner, device: str) -> None:
    wanted, found = trained(plain, device), trained(graphed, device)
    for one, other in zip(found, wanted, strict=True):
        assert one == pytest.approx(other, rel=1e-8)
    assert len(graphed.graphs.recorded) == 4
    for a, b in zip(graphed.parameters, plain.parameters, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)
