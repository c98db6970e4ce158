"""What a teacher with weights of its own takes of the GPUs and of the machine's memory."""

from dataclasses import dataclass

from labrun.errors import LabError

from lab_llm.planning.estimates import BYTES, GIB, ModelShape
from lab_llm.planning.process_memory import loaded_dtype
from lab_llm.training.config import Context, GRPOSettings, TeacherSettings
from lab_llm.training.distillation_config import DistillationConfig
from lab_llm.training.zero import zero_stage

OWN = ("frozen", "ema")
"""Teachers of SDPO that have weights of their own."""


@dataclass(frozen=True)
class TeacherCopies:
    """A teacher's weights, and what an average's own precision cannot hold beside them."""

    settings: GRPOSettings
    context: Context | None
    distillation: DistillationConfig | None

    @property
    def has_own(self) -> bool:
        """Whether they are not the policy's."""
        if self.distillation is not None:
            return self.distillation.teacher in OWN
        return self.context is not None and self._copy_every > 0

    @property
    def _copy_every(self) -> int:
        settings = self.settings
        return settings.teacher_copy_every if isinstance(settings, TeacherSettings) else 0

    @property
    def is_offloaded(self) -> bool:
        settings = self.settings
        return isinstance(settings, TeacherSettings) and settings.teacher_offload

    @property
    def _has_remainder(self) -> bool:
        kind = None if self.distillation is None else self.distillation.teacher
        return kind == "ema" and loaded_dtype(self.settings) == "bfloat16"

    def on_gpu(self, shape: ModelShape) -> float:
        """Copies of the model on each GPU (count); of an offloaded one the largest weight, as a
        fraction. Under ZeRO-3 a remainder is in the machine's memory."""
        if not self.has_own:
            return 0.0
        if self.is_offloaded:
            widest = max(shape.vocab_size, shape.intermediate_size)
            return shape.hidden_size * widest / shape.num_parameters
        return 2.0 if self._has_remainder and zero_stage(self.settings) < 3 else 1.0

    def facts(self, shape: ModelShape) -> dict[str, object]:
        """What lies in the machine's memory instead."""
        if not self.has_own:
            return {}
        size = BYTES[loaded_dtype(self.settings)] * shape.num_parameters / GIB
        if self.is_offloaded:
            held = size * (2 if self._has_remainder else 1)
            return {"machine_memory_gib": f"{held:.3g} in every process (the teacher, offloaded)"}
        if self._has_remainder and zero_stage(self.settings) == 3:
            where = "in the first process (the average's remainder)"
            return {"machine_memory_gib": f"{size:.3g} {where}"}
        return {}

    def check(self) -> None:
        """LabError where the settings of the teacher's weights contradict each other."""
        if self.context is None:
            return
        every, kind = self._copy_every, self.distillation and self.distillation.teacher
        if every and kind not in (None, "frozen"):
            raise LabError(
                f"trainer.teacher_copy_every={every} copies the policy into a frozen teacher, and "
                f"trainer.distillation.teacher={kind} is none; set one of the two: "
                "trainer.teacher_copy_every=0, or trainer.distillation.teacher=frozen"
            )
        zero3 = zero_stage(self.settings) == 3
        if self.is_offloaded and zero3:
            raise LabError(
                "trainer.teacher_offload=true: under ZeRO-3 (trainer.deepspeed="
                f"{self._deepspeed}) the GPUs share the teacher's weights out; leave it out, or "
                "take trainer.deepspeed=zero2"
            )
        if self.is_offloaded and not self.has_own:
            own = "trainer.teacher_copy_every=20"
            if self.distillation is not None:
                own = "trainer.distillation.teacher=frozen or ema"
            raise LabError(
                "trainer.teacher_offload=true, but the teacher is the policy itself and has no "
                f"weights of its own; leave it out, or set {own}"
            )

    @property
    def _deepspeed(self) -> str:
        return self.settings.deepspeed
