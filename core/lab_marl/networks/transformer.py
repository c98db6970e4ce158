"""The transformer of UPDeT: entity tokens and, where there is one, a history token (LAMDA-RL/ODIS,
src/utils/transformer.py).

The history is the output at its own token one step before. With one block only that token's output
depends on the step before, so that all others are computed for a whole batch at once. A compiled
kernel goes through a batch step by step instead, a few agents at a time, and gives the same values
but for rounding.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lab_marl.kernel.unroll import Course, Kernel
from lab_marl.networks.config import TransformerConfig


class TransformerBlock(nn.Module):
    """x <- LN1(x + MHA(x)), x <- LN2(x + FFN(x)); each head is as wide as a token."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.ffn_factor * config.width
        self.heads = config.heads
        self.query = nn.Linear(width, config.heads * width, bias=False)
        self.key_value = nn.Linear(width, 2 * config.heads * width, bias=False)
        self.out = nn.Linear(config.heads * width, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width)
        )

    def forward(
        self, x: Float[Tensor, "rows q d"], key_value: Float[Tensor, "rows k m"]
    ) -> Float[Tensor, "rows q d"]:
        """The block's output at the tokens x, which attend to those that gave `key_value`."""
        y = self.norm1(x + self.out(self._attention(self.query(x), key_value)))
        return self.norm2(y + self.feed_forward(y))

    def _attention(self, query: Tensor, key_value: Tensor) -> Tensor:
        """softmax(q k / sqrt(d)) v, heads side by side."""
        key, value = (self._split(part) for part in key_value.chunk(2, -1))
        mixed = functional.scaled_dot_product_attention(self._split(query), key, value)
        return mixed.transpose(1, 2).flatten(2)

    def _split(self, values: Tensor) -> Tensor:
        """(rows, heads, tokens, d), the form for which the CPU has a fused kernel."""
        return values.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class TokenTransformer(nn.Module):
    """Blocks and an output linear d -> d over tokens without a history."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.width = config.width
        self.blocks = nn.ModuleList(TransformerBlock(config) for _ in range(config.depth))
        self.output = nn.Linear(config.width, config.width)

    def forward(
        self, tokens: Float[Tensor, "rows n k d"], *, read: int
    ) -> Float[Tensor, "rows n r d"]:
        """Outputs at the first `read` tokens of each agent."""
        x = self.below(tokens.flatten(0, 1))
        return self.top(x[:, :read], self.last.key_value(x)).unflatten(0, tokens.shape[:2])

    @property
    def last(self) -> TransformerBlock:
        block = self.blocks[-1]
        assert isinstance(block, TransformerBlock)
        return block

    def below(self, x: Tensor) -> Tensor:
        """The input of the last block."""
        for block in self.blocks[:-1]:
            assert isinstance(block, TransformerBlock)
            x = block(x, block.key_value(x))
        return x

    def top(self, x: Tensor, key_value: Tensor) -> Tensor:
        """The last block and the output linear."""
        return self.output(self.last(x, key_value))


class HistoryTransformer(TokenTransformer):
    """A `TokenTransformer` with one token more, which carries the history h_t; h_0 = 0."""

    kernel: Callable[[], Kernel | None] | None = None
    """Gives what computes `unroll`; None: torch's operations. It is no part of the state."""

    def begin(self, agents: int) -> Float[Tensor, "agents d"]:
        """The histories of agents before their first step."""
        return self.output.weight.new_zeros(agents, self.width)

    def step(
        self, tokens: Float[Tensor, "rows n k d"], history: Float[Tensor, "agents d"], *, read: int
    ) -> tuple[Float[Tensor, "rows n r d"], Float[Tensor, "agents d"]]:
        """Outputs at the first `read` tokens, and the histories after this step."""
        x = self.below(torch.cat([tokens.flatten(0, 1), history[:, None]], 1))
        key_value = self.last.key_value(x)
        outputs = self.top(x[:, :read], key_value).unflatten(0, tokens.shape[:2])
        return outputs, self.top(x[:, -1:], key_value)[:, 0]

    def unroll(
        self, tokens: Float[Tensor, "rows n k d"], counts: Sequence[int], *, read: int
    ) -> Float[Tensor, "rows n r d"]:
        """Outputs at the first `read` tokens of all rows of a batch: at time t there are those of
        the first `counts[t]` episodes."""
        flat = tokens.flatten(0, 1)
        sizes = [count * tokens.shape[1] for count in counts]
        kernel = None if self.kernel is None else self.kernel()
        if kernel is not None:
            return self._compiled(kernel, flat, sizes, read).unflatten(0, tokens.shape[:2])
        if len(self.blocks) == 1:
            x, key_value = flat, self._shallow(flat, sizes)
        else:
            x, key_value = self._deep(flat, sizes)
        return self.top(x[:, :read], key_value).unflatten(0, tokens.shape[:2])

    def _shallow(self, flat: Tensor, sizes: Sequence[int]) -> Tensor:
        """Keys and values of every row: the tokens' at once, the histories' step by step."""
        history = self.begin(sizes[0])
        steps = []
        for part in self.last.key_value(flat).split(list(sizes)):
            x = history[: part.shape[0], None]
            steps.append(torch.cat([part, self.last.key_value(x)], 1))
            history = self.top(x, steps[-1])[:, 0]
        return torch.cat(steps)

    def _deep(self, flat: Tensor, sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Inputs of the last block, and their keys and values, step by step."""
        history = self.begin(sizes[0])
        inputs, steps = [], []
        for part in flat.split(list(sizes)):
            x = self.below(torch.cat([part, history[: part.shape[0], None]], 1))
            inputs.append(x)
            steps.append(self.last.key_value(x))
            history = self.top(x[:, -1:], steps[-1])[:, 0]
        return torch.cat(inputs), torch.cat(steps)

    def _compiled(self, kernel: Kernel, flat: Tensor, sizes: Sequence[int], read: int) -> Tensor:
        """Outputs at the first `read` tokens, by the kernel, which reads the last ones."""
        course = Course(
            kinds=(),
            sizes=sizes,
            skip=flat.shape[1] - read,
            before=0,
            high_step=1,
            blocks=("low",),
            has_high_history=False,
        )
        turned = torch.cat([flat[:, read:], flat[:, :read]], 1)
        return kernel.outputs(self._by_the_kernels_names(), turned, course)

    def _by_the_kernels_names(self) -> dict[str, Tensor]:
        """The weights. The kernel's block has a feed-forward net of its own for the histories, here
        that of all tokens; and a head behind the output linear, here none."""
        block, like = self.last, self.output.bias
        up, _, down = block.feed_forward
        found: dict[str, Any] = {
            "low.qkv.weight": torch.cat([block.query.weight, block.key_value.weight]),
            "head.weight": torch.eye(self.width, dtype=like.dtype),
            "head.bias": torch.zeros_like(like),
        }
        layers = {"low.out": block.out, "low.norm1": block.norm1, "low.norm2": block.norm2}
        layers |= {f"low.{tokens}_up": up for tokens in ("obs", "hist")}
        layers |= {f"low.{tokens}_down": down for tokens in ("obs", "hist")}
        layers["readout"] = self.output
        for name, layer in layers.items():
            found |= {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias}
        return found
