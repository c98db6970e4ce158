"""What a trained agent attends to along one episode, and its drawing."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from lab_marl.episodes.layouts import Layout
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

LANDMARKS = {"grid": "landmark", "spread": "landmark", "tag": "prey", "mamujoco": "joint"}


@dataclass(frozen=True)
class AttentionRecord:
    """Attention of the first agent of the first copy over S steps, means over heads."""

    tokens: tuple[str, ...]
    """Names of the K tokens."""
    own: np.ndarray
    """[S, K]: from the own token, in the last block that is applied; rows sum to 1."""
    pairs: np.ndarray | None
    """[S, K, K]: row attends to column in the last application of block L before it; None where
    no block L is followed by another."""


def attention_record(
    layout: Layout, maps: list[list[Tensor]], *, temporal: bool
) -> AttentionRecord:
    """The record of one episode from the maps that `policy.Episode` collected."""
    own = torch.stack([step[-1][0, 0, :, 0].mean(0) for step in maps])
    square = [[m[0, 0].mean(0) for m in step if m.shape[-2] == m.shape[-1]] for step in maps]
    pairs = torch.stack([step[-1] for step in square]).float().cpu().numpy() if square[0] else None
    return AttentionRecord(token_names(layout, temporal=temporal), own.float().cpu().numpy(), pairs)


def token_names(layout: Layout, *, temporal: bool) -> tuple[str, ...]:
    """Names of the tokens in the order in which the network lays them out."""
    kind = LANDMARKS.get(layout.family, "enemy")
    enemies = [f"{kind} {i + 1}" for i in range(layout.enemies.count)]
    allies = [f"ally {i + 1}" for i in range(layout.allies.count)]
    histories = ["low history", "high history"] if temporal else ["history"]
    if layout.attacks or layout.continuous:
        return (*allies, "own", *enemies, *histories)
    return (*enemies, *allies, "own", *histories)


def draw_attention(record: AttentionRecord, *, task: str) -> "Figure":
    """Own token's attention over time, and all tokens' at the start, middle and end."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.5), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1, 1.2), squeeze=False)[:, 0]
    _draw_own(above.subplots(), record, task)
    if record.pairs is not None:
        _draw_pairs(below, record.pairs, record.tokens)
    return figure


def _draw_own(axis: "Axes", record: AttentionRecord, task: str) -> None:
    shown = axis.imshow(record.own.T, aspect="auto", cmap="viridis", vmin=0, interpolation="none")
    axis.set_yticks(range(len(record.tokens)), record.tokens)
    axis.set_xlabel("step of the episode")
    axis.set_title(f"{task}: attention of the first agent's own token in the last block")
    axis.figure.colorbar(shown, ax=axis, label="attention weight")


def _draw_pairs(figure: "SubFigure", pairs: np.ndarray, tokens: tuple[str, ...]) -> None:
    """Three maps of one scale, with its colour bar."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    steps = [0, len(pairs) // 2, len(pairs) - 1]
    scale = Normalize(0, float(pairs[steps].max()))
    axes = figure.subplots(1, 3, sharey=True)
    for axis, step in zip(axes, steps, strict=True):
        axis.imshow(pairs[step], cmap="viridis", norm=scale, interpolation="none")
        axis.set_title(f"low-level block, step {step}")
        axis.set_xlabel("attended token")
        axis.set_yticks(range(len(tokens)), tokens)
        axis.set_xticks(range(len(tokens)), tokens, rotation=90)
    axes[0].set_ylabel("attending token")
    figure.colorbar(ScalarMappable(scale, "viridis"), ax=axes, label="attention weight")
