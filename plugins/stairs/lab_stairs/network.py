"""STAIRS-Former's agent: embeddings, the recursion of two blocks, two histories, the Q head.

The parameters lie in `StairsNetwork`; the maths is in functions over stacked weights (`blocks`), so
that the online and the target network are evaluated together where no gradient is needed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from lab_marl.episodes.layouts import Layout
from lab_marl.kernel.unroll import Course, Kernel
from lab_marl.training.entity_features import EntityFeatures, enemy_width, own_width
from torch import Tensor, nn

from lab_stairs.blocks import Block, Dropped, Weights, block, linear
from lab_stairs.config import NetworkConfig


class StairsNetwork(nn.Module):
    """Parameters of the agents' network for every task of the layout's signature."""

    def __init__(self, layout: Layout, config: NetworkConfig, *, outputs: int) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.own = nn.Linear(own_width(layout, config.id_bits), width)
        self.enemies = nn.Linear(enemy_width(layout), width)
        self.allies = nn.Linear(layout.allies.width, width)
        self.low = Block(width, heads=config.heads, ffn_factor=config.ffn_factor)
        if config.spatial:
            self.high = Block(width, heads=config.heads, ffn_factor=config.ffn_factor)
        self.readout = nn.Linear(width, width)
        self.head = nn.Linear(width, outputs)
        if config.temporal:
            self.gru = nn.GRUCell(width, width)

    @cached_property
    def by_name(self) -> Mapping[str, nn.Parameter]:
        """Its parameters, listed once: they stay the same objects."""
        return dict(self.named_parameters())


@dataclass(frozen=True)
class Memory:
    """The histories of R agents after a time step."""

    low: Tensor
    """(S, R, d): h_L."""
    high: Tensor | None
    """(S, R, d): h_H; None without the temporal hierarchy."""

    def first(self, rows: int) -> "Memory":
        """The histories of the first `rows` agents."""
        high = None if self.high is None else self.high[:, :rows]
        return Memory(self.low[:, :rows], high)


@dataclass(frozen=True)
class TokenOrder:
    """Tokens as they are laid out here: those whose output nobody reads come first.

    The paper's order is own, enemies, allies, then the histories; attention does not depend on it.
    """

    enemies: int
    allies: int
    reads_enemies: bool

    @property
    def unread(self) -> int:
        return self.allies if self.reads_enemies else self.allies + self.enemies

    @property
    def kinds(self) -> tuple[str, str, str]:
        if self.reads_enemies:
            return ("allies", "own", "enemies")
        return ("enemies", "allies", "own")

    def arrange(self, own: Tensor, enemies: Tensor, allies: Tensor, *, dim: int) -> Tensor:
        parts = {"own": own, "enemies": enemies, "allies": allies}
        return torch.cat([parts[kind] for kind in self.kinds], dim)


def order_of(layout: Layout) -> TokenOrder:
    reads = layout.attacks or layout.continuous
    return TokenOrder(layout.enemies.count, layout.allies.count, reads)


def start(weights: Weights, rows: int, config: NetworkConfig) -> Memory:
    """h_L = h_H = 0 for `rows` agents."""
    like = weights["readout.weight"]
    zeros = like.new_zeros(like.shape[0], rows, config.width, dtype=torch.float32)
    return Memory(zeros, zeros if config.temporal else None)


def embed(weights: Weights, layout: Layout, features: EntityFeatures) -> Tensor:
    """Entity tokens (S, rows * n, K, d) of every row at once."""
    stack = weights["own.weight"].shape[0]

    def project(name: str, values: Tensor) -> Tensor:
        flat = values.reshape(1, -1, values.shape[-1]).expand(stack, -1, -1)
        return linear(weights, name, flat).view(
            stack, -1, values.shape[-2], weights[f"{name}.weight"].shape[-1]
        )

    own = project("own", features.own[..., None, :])
    enemies = project("enemies", features.enemies)
    allies = project("allies", features.allies)
    return order_of(layout).arrange(own, enemies, allies, dim=2)


def advance(
    weights: Weights,
    config: NetworkConfig,
    layout: Layout,
    tokens: Tensor,
    memory: Memory,
    time: int,
    dropped: Dropped | None = None,
    maps: list[Tensor] | None = None,
) -> tuple[Tensor, Memory]:
    """One time step: read tokens (S, R, 1 + read enemies, d) and the histories after it.

    h_H,t = GRU(h_L,t-1, h_H,t-1) if t mod T_H = 0 else h_H,t-1, before the tokens are put together;
    h_L,t = the output at its own token.
    """
    high = memory.high
    if high is not None and time % config.high_step == 0:
        high = _gru(weights, memory.low, high)
    histories = [memory.low] if high is None else [memory.low, high]
    x = torch.cat([tokens, torch.stack(histories, 2)], 2)
    z = _recursion(weights, config, x, dropped, order_of(layout).unread, len(histories), maps)
    read = linear(weights, "readout", z)
    return read[:, :, :-1], Memory(read[:, :, -1], high)


def _recursion(
    weights: Weights,
    config: NetworkConfig,
    x: Tensor,
    dropped: Dropped | None,
    skip: int,
    histories: int,
    maps: list[Tensor] | None,
) -> Tensor:
    """z_L <- L(z_L + z_H + x), and every so often z_H <- H(z_H + z_L); both begin at 0.

    `h_cycles * l_cycles - 1` such steps come before the last L and the last H; they carry a
    gradient only with `gradient: full`. Gives z_H at the tokens that are read.
    """

    def apply(name: str, y: Tensor, *, last: bool = False) -> Tensor:
        start = skip if last else 0
        return block(
            weights,
            name,
            y,
            dropped,
            heads=config.heads,
            histories=histories,
            skip=start,
            last=last,
            maps=maps,
        )

    if not config.spatial:
        return apply("low", x, last=True)
    low: Tensor | None = None
    high: Tensor | None = None
    every = config.h_cycles if config.schedule == "published" else config.l_cycles
    full = config.gradient == "full"
    with torch.set_grad_enabled(torch.is_grad_enabled() and full):
        for step in range(1, config.h_cycles * config.l_cycles):
            low = apply("low", _sum(low, high, x if full else x.detach()))
            if step % every == 0:
                high = apply("high", _sum(high, low))
    low = apply("low", _sum(low, high, x))
    return apply("high", _sum(high, low), last=True)


def _sum(*terms: Tensor | None) -> Tensor:
    present = [term for term in terms if term is not None]
    total = present[0]
    for term in present[1:]:
        total = total + term
    return total


def _gru(weights: Weights, x: Tensor, h: Tensor) -> Tensor:
    """GRU cell in PyTorch's layout (reset, update, new) for x, h (S, R, d)."""
    gates_x = linear(
        {"ih.weight": weights["gru.weight_ih"], "ih.bias": weights["gru.bias_ih"]}, "ih", x
    )
    gates_h = linear(
        {"hh.weight": weights["gru.weight_hh"], "hh.bias": weights["gru.bias_hh"]}, "hh", h
    )
    reset_x, update_x, new_x = gates_x.chunk(3, -1)
    reset_h, update_h, new_h = gates_h.chunk(3, -1)
    update = torch.sigmoid(update_x + update_h)
    new = torch.tanh(new_x + torch.sigmoid(reset_x + reset_h) * new_h)
    return new + update * (h - new)


def unroll(
    weights: Weights,
    config: NetworkConfig,
    layout: Layout,
    features: EntityFeatures,
    counts: Sequence[int],
    keep: Tensor | None = None,
) -> Tensor:
    """Read tokens (S, rows, n, 1 + read enemies, d) of a whole batch, time step after time step.

    Rows are packed: at time t those of the first `counts[t]` episodes, so that an episode costs
    nothing after its end. `keep` (rows, n, 1 + enemies + allies) is False at dropped tokens.
    """
    agents = layout.num_agents
    sizes = [count * agents for count in counts]
    steps = embed(weights, layout, features).split(sizes, 1)
    masks = [None] * len(sizes) if keep is None else _dropped(layout, config, keep).split(sizes)
    memory = start(weights, sizes[0], config)
    read = []
    for time, (tokens, mask) in enumerate(zip(steps, masks, strict=True)):
        if tokens.shape[1] < memory.low.shape[1]:
            memory = memory.first(tokens.shape[1])
        out, memory = advance(weights, config, layout, tokens, memory, time, mask)
        read.append(out)
    return torch.cat(read, 1).unflatten(1, (-1, agents))


def compiled_values(
    kernel: Kernel,
    network: StairsNetwork,
    layout: Layout,
    features: EntityFeatures,
    counts: Sequence[int],
    keep: Tensor | None = None,
) -> Tensor:
    """Q (rows, n, a) of a whole batch: `q_values` of `unroll` but for rounding."""
    config, order = network.config, order_of(layout)
    course = Course(
        kinds=order.kinds,
        sizes=[count * layout.num_agents for count in counts],
        skip=order.unread,
        before=config.h_cycles * config.l_cycles - 1,
        high_step=config.high_step,
        blocks=("low", "high") if config.spatial else ("low",),
        has_high_history=config.temporal,
    )
    parts = {"own": features.own[..., None, :], "enemies": features.enemies}
    parts["allies"] = features.allies
    kept = None if keep is None else _kept(layout, config, keep)
    inputs = [parts[kind].flatten(0, 1) for kind in order.kinds]
    q = kernel.values(network.by_name, inputs, kept, course)
    return q.unflatten(0, (-1, layout.num_agents))


def q_values(weights: Weights, layout: Layout, read: Tensor) -> Tensor:
    """Q (S, rows, n, a): non-attack actions at the own token; an attack is the mean over the
    head's outputs at the enemy's token."""
    q = linear(weights, "head", read)
    if not layout.attacks:
        return q[..., 0, :]
    return torch.cat([q[..., 0, :], q[..., 1:, :].mean(-1)], -1)


def draw_kept_tokens(
    layout: Layout, actions: Int[Tensor, "rows n"], *, probability: float
) -> Bool[Tensor, "rows n k"]:
    """Token dropout: False at tokens that are dropped, in the order own, enemies, allies.

    Own token and histories always stay, and so does the enemy that the dataset's action attacks.
    """
    tokens = 1 + layout.enemies.count + layout.allies.count
    drawn = torch.rand(*actions.shape, tokens, device=actions.device)
    keep = drawn >= probability
    keep[..., 0] = True
    if layout.attacks:
        attacks = actions >= layout.num_non_attack
        token = torch.where(attacks, actions - layout.num_non_attack + 1, 0)
        keep.scatter_(-1, token[..., None], True)
    return keep


def _dropped(layout: Layout, config: NetworkConfig, keep: Tensor) -> Dropped:
    return Dropped.of(_kept(layout, config, keep))


def _kept(layout: Layout, config: NetworkConfig, keep: Tensor) -> Tensor:
    """(rows * n, K): which tokens stay, in this module's order of tokens; histories are kept."""
    flat = keep.flatten(0, 1)
    own, enemies, allies = flat.split([1, layout.enemies.count, layout.allies.count], 1)
    entities = order_of(layout).arrange(own, enemies, allies, dim=1)
    return F.pad(entities, (0, 2 if config.temporal else 1), value=True)
