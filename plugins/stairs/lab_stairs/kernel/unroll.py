"""The compiled unroll as a function of tensors, with its gradient."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lab_stairs.blocks import Weights
from lab_stairs.kernel.build import library

BLOCK = (
    *("score.weight", "out.weight", "obs_up.weight", "obs_down.weight"),
    *("hist_up.weight", "hist_down.weight"),
    *("out.bias", "obs_up.bias", "obs_down.bias", "hist_up.bias", "hist_down.bias"),
    *("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"),
)
"""Tensors of a block, in the order of `Name` in block.h."""
TURNED = ("obs_up.weight", "hist_up.weight")
"""Their gradients come as (out, in)."""
REST = (
    *("readout.weight", "readout.bias", "gru.weight_ih", "gru.bias_ih"),
    *("gru.weight_hh", "gru.bias_hh"),
)
NAMES = (*(f"low.{name}" for name in BLOCK), *(f"high.{name}" for name in BLOCK), *REST)
MOST_TOKENS = 64
"""As in block.h: its scratch on the stack."""
SLAB = 32
"""Rows of agents that go through all steps together."""
Pointers = ctypes.POINTER(ctypes.c_void_p)


class Shape(ctypes.Structure):
    """`Shape` of unroll.cpp."""

    _fields_ = (
        *((name, ctypes.c_int) for name in ("entities", "skip", "before", "high_step", "slab")),
        ("steps", ctypes.c_int),
        ("sizes", ctypes.POINTER(ctypes.c_int)),
        ("tokens", ctypes.c_void_p),
        ("kept", ctypes.c_void_p),
        *((name, Pointers) for name in ("low", "high", "rest")),
    )


@dataclass(frozen=True)
class Course:
    """How tokens run through the blocks."""

    sizes: Sequence[int]
    """Rows of each step."""
    skip: int
    """First tokens, whose output nobody reads."""
    before: int
    """Applications of block L without a gradient."""
    high_step: int
    """T_H, steps between two updates of the high-level history."""


class Kernel:
    """The compiled unroll for one width."""

    def __init__(self, width: int, hidden: int) -> None:
        self.library = library(width, hidden)
        self.library.stairs_tape.restype = ctypes.c_long
        self.spare: Tensor | None = None
        """The last tape that is no longer needed: new memory would cost its page faults."""

    def unroll(
        self, weights: Weights, tokens: Tensor, kept: Tensor | None, course: Course
    ) -> Tensor:
        """Read tokens (rows, reads, d) of (rows, entities, d) float32 tokens and S = 1 weights.

        `kept` (rows, entities + 2) is 0 at dropped tokens.
        """
        _check(tokens, kept, course)
        flat = [
            weights[name].flatten(0, 1) if weights[name].dim() == 3 else weights[name][0]
            for name in NAMES
        ]
        made: Any = _Unroll.apply(self, course, kept, tokens, *flat)
        return made

    def tape(self, size: int) -> Tensor:
        """Room for `size` floats."""
        spare, self.spare = self.spare, None
        if spare is None or spare.numel() < size:
            spare = None
            return torch.empty(size, dtype=torch.float32)
        return spare


def _check(tokens: Tensor, kept: Tensor | None, course: Course) -> None:
    """Assert what the compiled code trusts when it reads and writes memory."""
    rows, entities, sizes = tokens.shape[0], tokens.shape[1], course.sizes
    assert tokens.dtype == torch.float32
    assert tokens.device.type == "cpu"
    assert 0 <= course.skip < entities <= MOST_TOKENS - 2
    assert sizes
    assert sum(sizes) == rows
    assert all(a >= b >= 0 for a, b in zip(sizes, [*sizes[1:], 0], strict=True))
    assert kept is None or kept.shape == (rows, entities + 2)


class _Unroll(torch.autograd.Function):
    """(kernel, course, kept, tokens, tensors of NAMES) -> read tokens."""

    @staticmethod
    def forward(
        ctx: Any, kernel: Kernel, course: Course, kept: Tensor | None, *given: Tensor
    ) -> Tensor:
        tensors = [tensor.detach().contiguous() for tensor in given]
        call = _Call(course, kept, tensors)
        tokens = tensors[0]
        reads = tokens.shape[1] - course.skip
        out = tokens.new_empty(tokens.shape[0], reads, tokens.shape[2])
        tape = None
        if any(ctx.needs_input_grad):
            tape = kernel.tape(kernel.library.stairs_tape(call.shape))
            ctx.call, ctx.kernel, ctx.tape = call, kernel, tape
        kernel.library.stairs_forward(call.shape, _pointer(tape), _pointer(out))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        call, kernel, tape = ctx.call, ctx.kernel, ctx.tape
        if tape is None:
            raise RuntimeError("the compiled unroll was differentiated twice")
        tokens, *weights = call.tensors
        d_tokens = torch.empty_like(tokens)
        turned = [name.removeprefix("low.").removeprefix("high.") in TURNED for name in NAMES]
        sums = [
            torch.zeros_like(weight.t() if turn else weight, memory_format=torch.contiguous_format)
            for weight, turn in zip(weights, turned, strict=True)
        ]
        d_out = grads[0].contiguous()
        kernel.library.stairs_backward(
            call.shape, _pointer(tape), _pointer(d_out), _pointer(d_tokens), _pointers(sums)
        )
        kernel.spare, ctx.tape, ctx.call = tape, None, None
        given = [total.t() if turn else total for total, turn in zip(sums, turned, strict=True)]
        return (None, None, None, d_tokens, *given)


class _Call:
    """One call's `Shape`, and the tensors that it points to."""

    def __init__(self, course: Course, kept: Tensor | None, tensors: Sequence[Tensor]) -> None:
        self.tensors = tensors
        self.kept = None if kept is None else kept.float().contiguous()
        tokens, weights = tensors[0], tensors[1:]
        sizes = (ctypes.c_int * len(course.sizes))(*course.sizes)
        parts = [weights[: len(BLOCK)], weights[len(BLOCK) : 2 * len(BLOCK)]]
        self.pointers = [_pointers(part) for part in (*parts, weights[2 * len(BLOCK) :])]
        self.shape = ctypes.byref(
            Shape(
                tokens.shape[1],
                course.skip,
                course.before,
                course.high_step,
                SLAB,
                len(course.sizes),
                sizes,
                _pointer(tokens),
                _pointer(self.kept),
                *self.pointers,
            )
        )


def _pointer(tensor: Tensor | None) -> ctypes.c_void_p | None:
    return None if tensor is None else ctypes.c_void_p(tensor.data_ptr())


def _pointers(tensors: Sequence[Tensor]) -> Any:
    return (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))
