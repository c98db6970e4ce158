"""A teacher's own weights: frozen, averaged, or copied from the policy now and then."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from labrun.attempts.loading import loading
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from lab_llm.distributed import ranks
from lab_llm.training.config import TeacherSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TEACHER_FILE, REMAINDER = "teacher.safetensors", "remainder/"


class Placing(Protocol):
    """A model that is not trained -> what to run it by: where the policy is trained and, under
    ZeRO-3, its weights spread over the ranks; offloaded, in the machine's memory."""

    def __call__(self, model: Any, *, is_offloaded: bool) -> Any: ...


@dataclass(frozen=True)
class Movement:
    """How the weights follow the policy's."""

    rate: float = 0.0
    """Share of the policy that enters them each time; 0: they stay as they were at the start."""
    every: Literal["step", "batch"] = "batch"
    """What they follow: each optimizer step, or batches of rollouts."""
    num_batches: int = 1
    """Batches of rollouts between two movements (count)."""


class TeacherWeights:
    """A copy of the policy at the start, which moves as `movement` says.

    `is_offloaded`: it lies in the machine's memory between the passes of its layers.
    """

    def __init__(self, movement: Movement, *, is_offloaded: bool = False) -> None:
        self.movement, self.is_offloaded = movement, is_offloaded
        self.model: Any = None
        self.remainders: dict[str, Tensor] = {}
        """What an average's own precision cannot hold (see `remainders_of`). Where ranks share the
        teacher's weights, the first keeps them all, in the machine's memory."""

    def begin(self, model: Any) -> None:
        """Copy the policy's model, as it was loaded."""
        self.model = frozen_copy(model)

    def place(self, placing: Placing) -> None:
        """Put the copy where the policy is trained, or leave it in the machine's memory."""
        self.model = placing(self.model, is_offloaded=self.is_offloaded)
        averages = 0 < self.movement.rate < 1
        if averages and (ranks.is_first() or not ranks.shares_weights(self.model)):
            self.remainders = remainders_of(self.model)

    def after_step(self, model: Any) -> None:
        """Follow the policy's model after an optimizer step, where they do so."""
        if self.movement.every == "step":
            self._move(model)

    def after_batch(self, model: Any, *, num_batches: int) -> None:
        """Follow it after the last step of a batch of rollouts, `num_batches` from the start."""
        if self.movement.every == "batch" and num_batches % self.movement.num_batches == 0:
            self._move(model)

    def _move(self, student: Any) -> None:
        if self.movement.rate:
            average(self.model, student, self.remainders, rate=self.movement.rate)

    def save(self, folder: Path) -> None:
        """Write the weights that move. All ranks call it, and the first writes."""
        if not self.movement.rate:
            return
        saved: dict[str, Tensor] = {}
        for name, parameter in self.model.named_parameters():
            with ranks.whole_parameters([parameter]):
                if ranks.is_first():
                    saved[name] = parameter.detach().cpu()
        if ranks.is_first():
            saved |= {REMAINDER + name: rest.cpu() for name, rest in self.remainders.items()}
            save_file(saved, folder / TEACHER_FILE)

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        if not self.movement.rate:
            return
        with loading(folder / TEACHER_FILE), safe_open(folder / TEACHER_FILE, "pt") as saved:
            for name, parameter in self.model.named_parameters():
                found = saved.get_tensor(name)
                with ranks.whole_parameters([parameter], changed=True):
                    parameter.copy_(found)
            for name, rest in self.remainders.items():
                rest.copy_(saved.get_tensor(REMAINDER + name))


def distilling_weights(settings: TeacherSettings) -> TeacherWeights | None:
    """SDPO's teacher's; None: it is the policy itself."""
    config = settings.distillation
    if config.teacher == "live":
        return None
    if config.teacher == "ema":
        movement = Movement(rate=config.ema_rate, every=config.ema_every)
        return TeacherWeights(movement, is_offloaded=settings.teacher_offload)
    return _copied(settings)


def scoring_weights(settings: TeacherSettings) -> TeacherWeights | None:
    """Those of a teacher that scores rollouts; None: it is the policy itself."""
    return _copied(settings) if settings.teacher_copy_every else None


def _copied(settings: TeacherSettings) -> TeacherWeights:
    """A copy of the policy at the start, or of every so many batches."""
    every = settings.teacher_copy_every
    movement = Movement(rate=1.0, num_batches=every) if every else Movement()
    return TeacherWeights(movement, is_offloaded=settings.teacher_offload)


@torch.no_grad()
def average(
    teacher: torch.nn.Module,
    student: torch.nn.Module,
    remainders: Mapping[str, Tensor],
    *,
    rate: float,
) -> None:
    """teacher <- (1 - rate) teacher + rate student, parameter by parameter, in place.

    A step is far less than bfloat16 tells apart: `remainders` (see `remainders_of`) keep what the
    teacher's own precision cannot hold. Of weights that ranks share the first rank's average
    counts, and no more than one parameter is ever whole.
    """
    pairs = zip(teacher.named_parameters(), student.parameters(), strict=True)
    for (name, mean), now in pairs:
        with ranks.whole_parameters([now]), ranks.whole_parameters([mean], changed=True):
            _move(mean, now, remainders.get(name), rate=rate)


def _move(mean: Tensor, now: Tensor, rest: Tensor | None, *, rate: float) -> None:
    """mean + rest <- (1 - rate) (mean + rest) + rate now."""
    whole = mean if rest is None else mean.float() + rest.to(mean.device).float()
    whole.lerp_(now.to(whole), rate)
    if rest is not None:
        mean.copy_(whole)
        rest.copy_(whole - mean.float())


def remainders_of(teacher: torch.nn.Module) -> dict[str, Tensor]:
    """Name -> zeros for every parameter in less than float32; the average is the sum of both.

    They lie beside the parameter, or in the machine's memory where ranks share it.
    """
    parameters = teacher.named_parameters()
    return {name: ranks.whole_zeros(p) for name, p in parameters if p.dtype.itemsize < 4}


def frozen_copy(model: "PreTrainedModel") -> "PreTrainedModel":
    """The same weights in a model of its own, in evaluation mode, that takes no gradient."""
    return copy.deepcopy(model).eval().requires_grad_(False)
