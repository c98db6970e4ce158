"""Settings of the networks over entities; values are those of LAMDA-RL/ODIS."""

from typing import Annotated, Literal

from annotated_types import Ge, Le
from labrun import schema

Mask = Literal["published", "filled"]
"""The frames that a cloning term sums: all, padding too, or those where a transition begins."""


@schema
class TransformerConfig:
    """The transformers over entity tokens and one history token."""

    width: Annotated[int, Ge(1)] = 64
    """d, numbers of a token (published: 64)."""
    heads: Annotated[int, Ge(1)] = 1
    """Attention heads, each of width d (published: 1)."""
    depth: Annotated[int, Ge(1)] = 1
    """Blocks one after another (published: 1; STAIRS-Former's repository runs ODIS with 2)."""
    ffn_factor: Annotated[int, Ge(1)] = 4
    """Hidden width of the feed-forward net, in units of d (published: 4)."""
    kernel: Literal["auto", "torch", "cpp"] = "auto"
    """What computes the transformer over a batch: torch's operations, or a kernel in C++ that is
    compiled for this processor on first use (g++, x86-64 with AVX2, float32 on the CPU; one block,
    one head). Both give the same values but for rounding. auto: the kernel where it can serve and
    the run has 200 steps or more. A resumed run keeps its path."""
    id_bits: Annotated[int, Ge(1), Le(16)] = 4
    """Bits of the code of an agent's number; at most 2^bits - 1 agents (published: 4)."""
