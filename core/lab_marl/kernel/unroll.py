"""The compiled network over a batch's time steps as a function of tensors, with its gradient."""

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from lab_marl.kernel.build import library

BLOCK = (
    *("qkv.weight", "out.weight", "obs_up.weight", "obs_down.weight"),
    *("hist_up.weight", "hist_down.weight", "out.bias"),
    *("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"),
    *("obs_up.bias", "obs_down.bias", "hist_up.bias", "hist_down.bias"),
)
"""Tensors of a block, in the order of `Name` in block.h."""
ENDS = (
    *("readout.weight", "readout.bias", "head.weight", "head.bias"),
    *("gru.weight_ih", "gru.weight_hh", "gru.bias_ih", "gru.bias_hh"),
)
"""Tensors around the blocks, in the order of `End` in ends.h, after those of the embeddings."""
NUM_ALWAYS = 4
"""Of them, those that a network without the high-level history has, too."""
KINDS = 3
"""Kinds of entities, as in ends.h."""
MOST_TOKENS = 64
"""As in attention.h: its scratch on the stack."""
SLAB, SLAB_FORWARD = 32, 16
"""Rows of agents that go through all steps together, with and without a way back."""
MOST_TAPE = 2**27
"""Floats (512 MiB) of what one pass keeps for its way back. A larger batch keeps nothing, and each
slab goes forward once more."""
Pointers = ctypes.POINTER(ctypes.c_void_p)
Integers = ctypes.POINTER(ctypes.c_int)


class Shape(ctypes.Structure):
    """`Shape` of ends.h."""

    _fields_ = (
        *((name, ctypes.c_int) for name in ("blocks", "histories", "entities", "skip", "before")),
        *((name, ctypes.c_int) for name in ("high_step", "slab", "steps", "outputs", "actions")),
        *((name, ctypes.c_int) for name in ("embedded", "whole")),
        *((name, Integers) for name in ("sizes", "counts", "widths")),
        ("features", Pointers),
        ("kept", ctypes.c_void_p),
        *((name, Pointers) for name in ("low", "last", "ends")),
        ("d_tokens", ctypes.c_void_p),
    )


@dataclass(frozen=True)
class Course:
    """How tokens run through the blocks."""

    kinds: Sequence[str]
    """Names of the embeddings, in the order of the tokens; none: the tokens are given."""
    sizes: Sequence[int]
    """Rows of each step."""
    skip: int
    """First tokens, whose output nobody reads."""
    before: int
    """Applications of block L without a gradient."""
    high_step: int
    """T_H, steps between two updates of the high-level history."""
    blocks: Sequence[str] = ("low", "high")
    """("low",): L alone, applied once a step."""
    has_high_history: bool = True

    @property
    def histories(self) -> int:
        return 2 if self.has_high_history else 1

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters in the compiled code's order."""
        return _names(tuple(self.blocks), tuple(self.kinds), self.has_high_history)


@cache
def _names(
    blocks: tuple[str, ...], kinds: tuple[str, ...], has_high_history: bool
) -> tuple[str, ...]:
    of_blocks = (f"{block}.{name}" for block in blocks for name in BLOCK)
    embeddings = (f"{kind}.{part}" for kind in kinds for part in ("weight", "bias"))
    return (*of_blocks, *embeddings, *(ENDS if has_high_history else ENDS[:NUM_ALWAYS]))


class Kernel:
    """The compiled network of one width."""

    def __init__(self, width: int, hidden: int) -> None:
        self.library = library(width, hidden)
        self.library.unroll_tape.restype = ctypes.c_long
        self.spare: Tensor | None = None
        """The last tape that is no longer needed: new memory would cost its page faults."""

    def values(
        self,
        parameters: Mapping[str, Tensor],
        features: Sequence[Tensor],
        kept: Tensor | None,
        course: Course,
    ) -> Tensor:
        """Q (rows, actions) of float32 features (rows, count, width) of each kind of entity.

        An action after the head's outputs is the attack on one of the tokens that are read.
        `kept` (rows, entities + histories) is 0 at dropped tokens. Features get no gradient.
        """
        _check(features, kept, course)
        return self._apply(parameters, features, kept, None, course)

    def outputs(self, parameters: Mapping[str, Tensor], tokens: Tensor, course: Course) -> Tensor:
        """The head's outputs (rows, read, m) at the tokens that are read, of float32 tokens
        (rows, entities, width), which get a gradient."""
        assert not course.kinds
        assert tokens.dtype == torch.float32
        _check([tokens], None, course)
        made = self._apply(parameters, (), None, tokens, course)
        return made.unflatten(1, (tokens.shape[1] - course.skip, -1))

    def _apply(
        self,
        parameters: Mapping[str, Tensor],
        features: Sequence[Tensor],
        kept: Tensor | None,
        tokens: Tensor | None,
        course: Course,
    ) -> Tensor:
        weights = [parameters[name] for name in course.names]
        learned = [*weights, *([] if tokens is None else [tokens])]
        # `forward` cannot tell: grad mode is off in it, whatever the caller's.
        learns = torch.is_grad_enabled() and any(one.requires_grad for one in learned)
        made: Any = _Unroll.apply(self, course, features, kept, learns, tokens, *weights)
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> "Kernel":
        """A network's copy has the same one: it holds no numbers of the network."""
        return self

    def tape(self, size: int) -> Tensor:
        """Room for `size` floats."""
        spare, self.spare = self.spare, None
        if spare is None or spare.numel() < size:
            spare = None
            return torch.empty(size, dtype=torch.float32)
        return spare


def _check(features: Sequence[Tensor], kept: Tensor | None, course: Course) -> None:
    """Assert what the compiled code trusts when it reads and writes memory."""
    rows, sizes = features[0].shape[0], course.sizes
    entities = sum(part.shape[1] for part in features)
    assert len(features) == (len(course.kinds) or 1)
    for part in features:
        assert part.shape[0] == rows
        assert part.dtype == torch.float32
        assert part.device.type == "cpu"
    assert 0 <= course.skip < entities <= MOST_TOKENS - 2
    assert sizes
    assert sum(sizes) == rows
    assert all(a >= b >= 0 for a, b in zip(sizes, [*sizes[1:], 0], strict=True))
    assert kept is None or kept.shape == (rows, entities + course.histories)


class _Unroll(torch.autograd.Function):
    """(kernel, course, features, kept, learns, tokens, parameters) -> Q, or the head's outputs at
    given tokens; only where it `learns` is anything kept for a way back."""

    @staticmethod
    def forward(
        ctx: Any,
        kernel: Kernel,
        course: Course,
        features: Sequence[Tensor],
        kept: Tensor | None,
        learns: bool,
        tokens: Tensor | None,
        *parameters: Tensor,
    ) -> Tensor:
        slab = SLAB if learns else SLAB_FORWARD
        call = _Call(course, features, kept, tokens, parameters, slab=slab)
        out = parameters[0].new_empty(sum(course.sizes), call.actions)
        tape = None
        if learns:
            size = kernel.library.unroll_tape(call.shape, 0)
            tape = kernel.tape(size) if size <= MOST_TAPE else None
            ctx.call, ctx.kernel, ctx.tape = call, kernel, tape
        kernel.library.unroll_forward(call.shape, _pointer(tape), _pointer(out))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        call, kernel, tape = ctx.call, ctx.kernel, ctx.tape
        if torch.is_grad_enabled():  # create_graph: the second derivative would be lost
            raise RuntimeError("the compiled unroll has first derivatives only; set kernel=torch")
        if call is None:
            raise RuntimeError("the compiled unroll was differentiated twice")
        made = [torch.zeros_like(weight) for weight in call.parameters]
        d_tokens = call.room_for_tokens()
        d_out, again = grads[0].contiguous(), None
        if tape is None:
            tape, again = kernel.tape(kernel.library.unroll_tape(call.shape, 1)), d_out.clone()
        kernel.library.unroll_backward(
            call.shape, _pointer(tape), _pointer(d_out), call.pointers(made), _pointer(again)
        )
        kernel.spare, ctx.tape, ctx.call = tape, None, None
        return (None, None, None, None, None, d_tokens, *made)


class _Call:
    """One call's `Shape`, and the tensors that it points to."""

    def __init__(
        self,
        course: Course,
        features: Sequence[Tensor],
        kept: Tensor | None,
        tokens: Tensor | None,
        parameters: Sequence[Tensor],
        *,
        slab: int,
    ) -> None:
        self.parameters = [weight.detach().contiguous() for weight in parameters]
        self.tokens = None if tokens is None else tokens.detach().contiguous()
        given = features if self.tokens is None else [self.tokens]
        self.features = [part.contiguous() for part in given]
        self.kept = None if kept is None else kept.float().contiguous()
        self._blocks = len(course.blocks) * len(BLOCK)
        entities = sum(part.shape[1] for part in given)
        outputs = self.parameters[course.names.index("head.weight")].shape[0]
        reads, whole = entities - course.skip, tokens is not None
        self.actions = outputs * reads if whole else outputs + reads - 1
        low, last = slice(0, len(BLOCK)), slice(self._blocks - len(BLOCK), self._blocks)
        self._shape = Shape(
            *(len(course.blocks), course.histories, entities, course.skip, course.before),
            *(course.high_step, slab, len(course.sizes), outputs, self.actions),
            *(tokens is None, whole),
            _integers(course.sizes),
            _integers(self._of_kinds(1)),
            _integers(self._of_kinds(2)),
            _pointers(self.features),
            _pointer(self.kept),
            *(_pointers(self.parameters[part]) for part in (low, last)),
            _pointers(self._ends(self.parameters)),
        )
        self.shape = ctypes.byref(self._shape)

    def _of_kinds(self, axis: int) -> list[int]:
        """A size of each kind's features; 0 where the tokens are given."""
        return [0] * KINDS if self.tokens is not None else [p.shape[axis] for p in self.features]

    def _ends(self, tensors: Sequence[Tensor]) -> list[Tensor | None]:
        """Those around the blocks, with gaps for embeddings that are not there."""
        gaps = [None] * (2 * KINDS if self.tokens is not None else 0)
        return [*gaps, *tensors[self._blocks :]]

    def room_for_tokens(self) -> Tensor | None:
        """Where the gradient of the given tokens will lie."""
        if self.tokens is None:
            return None
        room = torch.empty_like(self.tokens)
        self._shape.d_tokens = room.data_ptr()
        return room

    def pointers(self, made: Sequence[Tensor]) -> Any:
        """Where the gradients of the parameters will lie, as `unroll_backward` takes them."""
        return _pointers([*made[: self._blocks], *self._ends(made)])


def _pointer(tensor: Tensor | None) -> ctypes.c_void_p | None:
    return None if tensor is None else ctypes.c_void_p(tensor.data_ptr())


def _pointers(tensors: Sequence[Tensor | None]) -> Any:
    places = (None if tensor is None else tensor.data_ptr() for tensor in tensors)
    return (ctypes.c_void_p * len(tensors))(*places)


def _integers(numbers: Sequence[int]) -> Any:
    return (ctypes.c_int * len(numbers))(*numbers)
