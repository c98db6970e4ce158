"""STAIRS-Former's agent, mixer and loss, written to be read: what the fast network is held against.

Batched over episodes and agents, one time step after the other over the whole padded batch, in
three passes, as published (arXiv 2603.11691 and its authors' code). Discrete actions, both
histories, cross-entropy as behaviour cloning. Parameters have the names of
tests/golden/stairs_cn.npz; `fast_names` gives those of lab_stairs.
"""

import math
import re
from collections.abc import Mapping

import torch
from lab_marl.episodes.batches import Batch
from lab_marl.episodes.layouts import EntityBlock as Entities
from lab_marl.episodes.layouts import Layout
from lab_stairs.config import MixerConfig, NetworkConfig, StairsConfig
from torch import Tensor, nn
from torch.nn import functional

FORBIDDEN_Q = -9999999.0
MASKED_SCORE = -1e9
PROJECTIONS = ("toqueries", "tokeys", "tovalues")
FAST_NAMES = {
    "own_value": "own",
    "enemy_value": "enemies",
    "ally_value": "allies",
    "transformer.L_level": "low",
    "transformer.H_level": "high",
    "attention.unifyheads": "out",
    "ff_obs.0": "obs_up",
    "ff_obs.2": "obs_down",
    "ff_hist.0": "hist_up",
    "ff_hist.2": "hist_down",
    "transformer.toprobs": "readout",
    "q_skill": "head",
    "rnn": "gru",
    "ally_encoder": "allies",
    "enemy_encoder": "enemies",
    "hyper_w_1": "first",
    "hyper_w_final": "final",
    "hyper_b_1": "bias",
    "V": "value",
}


class Attention(nn.Module):
    """MHA with heads of width d each; what `pairs` rules out scores -1e9.

    A token whose row is ruled out whole therefore attends to all tokens alike.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.toqueries = nn.Linear(width, heads * width, bias=False)
        self.tokeys = nn.Linear(width, heads * width, bias=False)
        self.tovalues = nn.Linear(width, heads * width, bias=False)
        self.unifyheads = nn.Linear(heads * width, width)

    def forward(self, x: Tensor, pairs: Tensor | None) -> Tensor:
        """x [R, K, d], pairs [R, K, K] bool: may row attend to column -> [R, K, d]."""
        projections = (self.toqueries, self.tokeys, self.tovalues)
        query, key, value = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for project in projections
        )
        scores = query @ key.transpose(-2, -1) / math.sqrt(x.shape[-1])
        if pairs is not None:
            scores = scores.masked_fill(~pairs.unsqueeze(1), MASKED_SCORE)
        return self.unifyheads((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))


def two_layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


class EntityBlock(nn.Module):
    """B(x; mask): attention, then one feed-forward net for entities and one for both histories."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        d, hidden = config.width, config.ffn_factor * config.width
        self.attention = Attention(d, config.heads)
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.ff_obs, self.ff_hist = two_layers(d, hidden, d), two_layers(d, hidden, d)

    def forward(self, x: Tensor, pairs: Tensor | None) -> Tensor:
        x = self.norm1(x + self.attention(x, pairs))
        fed = torch.cat([self.ff_obs(x[:, :-2]), self.ff_hist(x[:, -2:])], 1)
        return self.norm2(x + fed)


class Recursion(nn.Module):
    """The blocks L and H, applied again and again; published: a gradient in the last round only."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.rounds = config.h_cycles * config.l_cycles
        self.high_every = config.h_cycles if config.schedule == "published" else config.l_cycles
        self.full_gradient = config.gradient == "full"
        self.L_level, self.H_level = EntityBlock(config), EntityBlock(config)
        self.toprobs = nn.Linear(config.width, config.width)

    def forward(self, tokens: Tensor, pairs: Tensor | None) -> Tensor:
        """tokens [R, K, d] -> the output linear on z_H, [R, K, d]."""
        z_low, z_high = torch.zeros_like(tokens), torch.zeros_like(tokens)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.full_gradient):
            for step in range(1, self.rounds):
                z_low = self.L_level(z_low + z_high + tokens, pairs)
                if step % self.high_every == 0:
                    z_high = self.H_level(z_high + z_low, pairs)
        z_low = self.L_level(z_low + z_high + tokens, pairs)
        z_high = self.H_level(z_high + z_low, pairs)
        return self.toprobs(z_high)


class Agent(nn.Module):
    """Q values of every agent from its observations and last actions, weights shared."""

    def __init__(self, layout: Layout, config: NetworkConfig) -> None:
        super().__init__()
        d, attacked = config.width, int(layout.attacks)
        own = layout.own_width + config.id_bits + layout.num_non_attack + attacked
        self.config = config
        self.own_value = nn.Linear(own, d)
        self.enemy_value = nn.Linear(layout.enemies.width + attacked, d)
        self.ally_value = nn.Linear(layout.allies.width, d)
        self.transformer = Recursion(config)
        self.q_skill = nn.Linear(d, layout.num_non_attack)
        self.rnn = nn.GRUCell(d, d)

    def forward(self, batch: Batch, keep: Tensor | None = None) -> Tensor:
        """Q [T, B, n, a]; `keep` [T, B, n, K] bool: the entity tokens not dropped."""
        tokens = self.tokens(batch).flatten(1, 2)
        low = high = tokens.new_zeros(tokens[0, :, 0].shape)
        steps = []
        for t, entities in enumerate(tokens):
            if t % self.config.high_step == 0:
                high = self.rnn(low, high)
            x = torch.cat([entities, low.unsqueeze(1), high.unsqueeze(1)], 1)
            outputs = self.transformer(x, None if keep is None else allowed(keep[t].flatten(0, 1)))
            low = outputs[:, -2]
            steps.append(self.q_values(outputs, batch.layout))
        return torch.stack(steps).unflatten(1, batch.actions.shape[1:])

    def tokens(self, batch: Batch) -> Tensor:
        """The entity tokens [T, B, n, K, d]: own, enemies, allies."""
        layout, obs, last = batch.layout, batch.obs, last_actions(batch)
        codes = agent_codes(layout.num_agents, self.config.id_bits).to(obs)
        own = [obs[..., start:stop] for start, stop in layout.own]
        own += [codes.expand(*obs.shape[:-1], -1), compact(last, layout)]
        enemies = block(obs, layout.enemies)
        if layout.attacks:
            attacked = last[..., layout.num_non_attack :].unsqueeze(-1)
            enemies = torch.cat([enemies, attacked], -1)
        embedded = [
            self.own_value(torch.cat(own, -1)).unsqueeze(-2),
            self.enemy_value(enemies),
            self.ally_value(block(obs, layout.allies)),
        ]
        return torch.cat(embedded, -2)

    def q_values(self, outputs: Tensor, layout: Layout) -> Tensor:
        """[R, K, d] -> [R, a]: own token's head, then each enemy token's head, averaged."""
        heads = self.q_skill(outputs)
        if not layout.attacks:
            return heads[:, 0]
        return torch.cat([heads[:, 0], heads[:, 1 : 1 + layout.enemies.count].mean(-1)], -1)


class Mixer(nn.Module):
    """Q_tot from the agents' Q values and the state."""

    def __init__(self, layout: Layout, config: MixerConfig) -> None:
        super().__init__()
        d, mixing, hidden = config.entity_width, config.mixing_width, config.hyper_width
        actions = layout.num_non_attack + int(layout.attacks)
        ally = layout.state_allies.width + (0 if layout.state_actions is None else actions)
        self.ally_encoder = nn.Linear(ally, d)
        self.enemy_encoder = nn.Linear(layout.state_enemies.width, d)
        self.query = nn.Linear(d, config.attention_width)
        self.key = nn.Linear(d, config.attention_width)
        self.hyper_w_1 = two_layers(2 * d, hidden, mixing)
        self.hyper_b_1 = nn.Linear(d, mixing)
        self.hyper_w_final = two_layers(d, hidden, mixing)
        self.V = two_layers(d, mixing, 1)

    def forward(self, q: Tensor, state: Tensor, layout: Layout) -> Tensor:
        """q [..., n], state [..., s] -> [...]."""
        allies = self.ally_encoder(ally_states(state, layout))
        enemies = self.enemy_encoder(block(state, layout.state_enemies))
        everyone = torch.cat([allies, enemies], -2)
        scores = self.key(everyone) @ self.query(everyone).transpose(-2, -1)
        share = (scores / math.sqrt(self.key.out_features)).softmax(-1)
        pooled = (share @ everyone).mean(-2)
        each = torch.cat([pooled.unsqueeze(-2).expand_as(allies), allies], -1)
        first = (q.unsqueeze(-2) @ self.hyper_w_1(each).abs()).squeeze(-2)
        hidden = functional.elu(first + self.hyper_b_1(pooled))
        final = self.hyper_w_final(pooled).abs()
        return (hidden * final).sum(-1) + self.V(pooled).squeeze(-1)


class Networks(nn.Module):
    """Agent and mixer, for every task of the layout's signature."""

    def __init__(self, layout: Layout, config: StairsConfig) -> None:
        super().__init__()
        self.agent, self.mixer = Agent(layout, config.network), Mixer(layout, config.mixer)


def block(vector: Tensor, where: Entities) -> Tensor:
    """[..., v] -> [..., count, width]."""
    return vector[..., where.start : where.stop].unflatten(-1, (where.count, where.width))


def agent_codes(num_agents: int, bits: int) -> Tensor:
    """[n, bits]: the numbers 1 to n in binary, most significant bit first."""
    shifts = torch.arange(bits).flip(0)
    return torch.arange(1, num_agents + 1).unsqueeze(-1) >> shifts & 1


def last_actions(batch: Batch) -> Tensor:
    """[T, B, n, a]: one-hot actions of the frame before; zeros at the start and after the end."""
    taken = functional.one_hot(batch.actions, batch.layout.num_actions).to(batch.obs)
    taken = taken * batch.filled[:, :, None, None]
    return torch.cat([torch.zeros_like(taken[:1]), taken[:-1]])


def compact(actions: Tensor, layout: Layout) -> Tensor:
    """One-hot [..., a] -> the part that names no enemy, and one bit: attacked."""
    if not layout.attacks:
        return actions
    named = actions[..., layout.num_non_attack :].sum(-1, keepdim=True)
    return torch.cat([actions[..., : layout.num_non_attack], named], -1)


def ally_states(state: Tensor, layout: Layout) -> Tensor:
    """[..., n, w], with the agents' last actions where the state has them."""
    allies = block(state, layout.state_allies)
    if layout.state_actions is None:
        return allies
    where = Entities(layout.state_actions, layout.num_agents, layout.num_actions)
    return torch.cat([allies, compact(block(state, where), layout)], -1)


def allowed(keep: Tensor) -> Tensor:
    """[R, K] kept entities -> [R, K + 2, K + 2] pairs of kept tokens; the histories always stay."""
    kept = functional.pad(keep, (0, 2), value=True)
    return kept.unsqueeze(1) & kept.unsqueeze(2)


def draw_keep(batch: Batch, probability: float, generator: torch.Generator) -> Tensor:
    """[T, B, n, K] bool: entity tokens are dropped with `probability`, but never the agent's own
    and the enemy that the dataset's action attacks."""
    layout = batch.layout
    others = layout.enemies.count + layout.allies.count
    drawn = torch.rand(*batch.actions.shape, others, generator=generator) >= probability
    keep = functional.pad(drawn.to(batch.obs.device), (1, 0), value=True)
    if layout.attacks:
        taken = functional.one_hot(batch.actions, layout.num_actions).bool()
        keep[..., 1 : 1 + layout.enemies.count] |= taken[..., layout.num_non_attack :]
    return keep


def loss(
    online: Networks, target: Networks, batch: Batch, keep: Tensor | None, config: StairsConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of one batch, and its two terms: TD, behaviour cloning."""
    q = online.agent(batch, keep)
    with torch.no_grad():
        best = forbid(online.agent(batch), batch).argmax(-1, keepdim=True)
        best_q = forbid(target.agent(batch), batch).gather(-1, best).squeeze(-1)
        next_q_tot = target.mixer(best_q, batch.state, batch.layout)
    chosen = q.gather(-1, batch.actions.unsqueeze(-1)).squeeze(-1)
    q_tot = online.mixer(chosen, batch.state, batch.layout)
    td = td_loss(q_tot, next_q_tot, batch, config.gamma)
    bc = bc_loss(q, batch, published=config.bc_mask == "published")
    return config.td_weight * td + config.bc_weight * bc, td, bc


def forbid(q: Tensor, batch: Batch) -> Tensor:
    return q.masked_fill(~batch.avail_actions, FORBIDDEN_Q)


def td_loss(q_tot: Tensor, next_q_tot: Tensor, batch: Batch, gamma: float) -> Tensor:
    """Mean squared one-step error of Q_tot [T, B] over the valid frames."""
    goal = batch.reward[:-1] + gamma * (1 - batch.terminated[:-1]) * next_q_tot[1:]
    error = (q_tot[:-1] - goal) * batch.valid[:-1]
    return error.square().sum() / batch.valid[:-1].sum()


def bc_loss(q: Tensor, batch: Batch, *, published: bool) -> Tensor:
    """Cross-entropy of the dataset's actions under softmax(Q), by agent and valid frame.

    Published: the sum runs over padded and last frames too. Else over the transitions.
    """
    terms = functional.cross_entropy(q.flatten(0, 2), batch.actions.flatten(), reduction="none")
    terms = terms.view(batch.actions.shape).mean(-1)
    if published:
        return terms.sum() / batch.valid.sum()
    return (terms * batch.transitions).sum() / batch.transitions.sum()


def fast_names(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights or gradients of an agent or a mixer, under the names of lab_stairs."""
    renamed, pattern = {}, "|".join(map(re.escape, FAST_NAMES))
    for name, value in values.items():
        if "tokeys" in name or "tovalues" in name:
            continue
        if "toqueries" in name:
            parts = [values[name.replace("toqueries", part)] for part in PROJECTIONS]
            name, value = name.replace("attention.toqueries", "qkv"), torch.cat(parts)
        renamed[re.sub(rf"\b({pattern})\b", lambda found: FAST_NAMES[found[0]], name)] = value
    return renamed
