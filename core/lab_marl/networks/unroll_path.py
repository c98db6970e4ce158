"""What computes a learner's transformers over a batch, and the same one after a resume."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from labrun.errors import LabError
from torch import nn

from lab_marl.episodes.layouts import Layout
from lab_marl.kernel.build import lacking
from lab_marl.kernel.choice import (
    Choice,
    chosen,
    fits_sizes,
    refuses_device,
    refuses_settings,
    refuses_tasks,
)
from lab_marl.kernel.unroll import Kernel
from lab_marl.networks.config import TransformerConfig
from lab_marl.networks.transformer import HistoryTransformer
from lab_marl.training.config import OfflineSettings


def choose(
    config: TransformerConfig,
    layouts: Sequence[Layout],
    device: str,
    *,
    max_steps: int,
    of_each: int = 1,
) -> Choice:
    """The path that `trainer.transformer.kernel` asks for; `of_each` is the tokens of an entity.

    Raises LabError for a kernel that cannot serve.
    """
    if config.kernel == "torch":
        return Choice("torch", "as set")
    reason = refusal(config, layouts, device, of_each=of_each)
    return chosen(config.kernel, reason, key="trainer.transformer.kernel", max_steps=max_steps)


def refusal(
    config: TransformerConfig, layouts: Sequence[Layout], device: str, *, of_each: int = 1
) -> str:
    """Why the kernel cannot serve this transformer, the tasks and the machine; empty where it
    can."""
    depth = (config.depth == 1, f"depth={config.depth}", "1")
    sizes = fits_sizes(config.width, config.ffn_factor, config.heads)
    return (
        refuses_device(device)
        or refuses_settings([*sizes, depth], section="trainer.transformer")
        or refuses_tasks(layouts, of_each=of_each)
        or lacking()
    )


def kernel_fact(
    config: TransformerConfig,
    layouts: Sequence[Layout],
    settings: OfflineSettings,
    *,
    of_each: int = 1,
) -> Mapping[str, object]:
    """What will compute the transformers, for the plan, whose `device` is cpu or cuda. Raises
    LabError for a kernel that cannot serve."""
    steps = settings.max_steps
    return {"kernel": choose(config, layouts, settings.device, max_steps=steps, of_each=of_each)}


class UnrollPath:
    """Torch's operations or the compiled kernel, for the transformers of some networks that carry a
    history.

    Which of them is settled at the first update: who only acts, step by step, needs no compiler.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        config: TransformerConfig,
        layouts: Sequence[Layout],
        *,
        max_steps: int,
        device: torch.device,
        of_each: int = 1,
    ) -> None:
        self._config, self._layouts, self._device = config, layouts, device.type
        self._max_steps, self._of_each = max_steps, of_each
        self._kernel: Kernel | None = None
        self._choice: Choice | None = None
        for network in networks:
            for part in network.modules():
                if isinstance(part, HistoryTransformer):
                    part.kernel = self.kernel

    @property
    def choice(self) -> Choice:
        """The path. Raises LabError where it is the kernel, as set, and that cannot serve."""
        if self._choice is None:
            self._choice = self._chosen()
        if self._choice.path == "cpp" and self._kernel is None:
            self._choice = self._opened(self._choice)
        return self._choice

    def _chosen(self) -> Choice:
        return choose(
            self._config,
            self._layouts,
            self._device,
            max_steps=self._max_steps,
            of_each=self._of_each,
        )

    def _opened(self, choice: Choice) -> Choice:
        """With `kernel: auto` torch's path, where the compiler fails."""
        try:
            self._kernel = self._compiled()
        except LabError as error:
            if self._config.kernel != "auto":
                raise
            return Choice("torch", str(error))
        return choice

    def _compiled(self) -> Kernel:
        return Kernel(self._config.width, self._config.ffn_factor * self._config.width)

    def kernel(self) -> Kernel | None:
        """What computes the transformers; None: torch's operations."""
        return self._kernel if self.choice.path == "cpp" else None

    def keep(self, path: str) -> None:
        """With `kernel: auto`, go on with the path that the run began with.

        Raises LabError where that is the kernel and it cannot serve, or be compiled, here.
        """
        if self._config.kernel != "auto":
            return
        if path == "torch":
            self._choice = Choice("torch", "as the run began")
            return
        reason = refusal(self._config, self._layouts, self._device, of_each=self._of_each)
        if reason:
            raise LabError(
                f"this learner was trained with the compiled kernel, which cannot serve here: "
                f"{reason}; resume where it can, or begin anew with "
                "trainer.transformer.kernel=torch"
            )
        self._kernel = self._compiled()
        self._choice = Choice("cpp", "as the run began")


class Unrolling:
    """A learner with an `UnrollPath`: it notes the path, and keeps it."""

    unroll: UnrollPath

    def remarks(self) -> Sequence[str]:
        return (f"kernel of the transformers: {self.unroll.choice}",)

    def resume(self, state: dict[str, Any]) -> None:
        """Raises LabError where the state's run used the compiled kernel and this one cannot."""
        self.unroll.keep(state.get("kernel", "torch"))
        self.load_state_dict(state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        raise NotImplementedError
