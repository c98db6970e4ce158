"""Memory of GRPO steps: what the plan says, and the most that was held.

Two steps: the optimizer has its moments from the end of the first on. The models have random
weights and the sizes of Qwen3. On a GPU the most that torch had allocated; on a CPU by how much the
process's greatest resident memory grew.
"""

import gc
import resource
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from lab_llm.datasets.countdown import CountdownDataset
from lab_llm.datasets.countdown_config import CountdownConfig
from lab_llm.planning.process_memory import loaded_dtype
from lab_llm.planning.shapes import shape_of
from lab_llm.planning.sizes import NO_TEACHER, TeacherSize, memory
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.policy import Policy
from lab_llm.policy.tokenizer_files import load_tokenizer
from lab_llm.training.run import build_trainer
from lab_rlrt.config import RLRTConfig
from lab_rlrt.methods import make_objective
from labrun.config.experiments import compose
from labrun.runs import run_dir
from labrun.runs.context import RunContext
from transformers import Qwen3Config, Qwen3ForCausalLM
from transformers.trainer_callback import TrainerCallback

from gpu.place import Place, Row, Rows

QWEN3 = {
    "30M": (8, 512, 8, 4, 64, 1536, 1024),
    "0.6B": (28, 1024, 16, 8, 128, 3072, 151936),
    "1.7B": (28, 2048, 16, 8, 128, 6144, 151936),
}
"""Layers, width, heads, key heads, width of a head, width of the MLP, vocabulary."""
PROMPT = 19
"""Longest prompt of the problems (tokens)."""
Precision = Literal["float32", "bfloat16"]
FIELDS = ("num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads")
FIELDS += ("head_dim", "intermediate_size", "vocab_size")


def config_of(model: str) -> Qwen3Config:
    """The configuration of a Qwen3 of these sizes."""
    sizes: dict[str, Any] = dict(zip(FIELDS, QWEN3[model], strict=True))
    return Qwen3Config(
        **sizes,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=0,
    )


@dataclass(frozen=True)
class Case:
    """A model, its precision, the rollouts' length (tokens), and whether activations
    are computed anew."""

    model: str
    dtype: Precision
    length: int
    checkpointing: bool
    has_teacher: bool = False
    """A frozen copy of the model, as SDPO has it."""
    num_prompts: int = 4
    num_generations: int = 8
    micro_batch_size: int = 16
    """Of these rollouts (count)."""


SMALL = (Case("30M", "float32", 16, False, num_prompts=1, num_generations=4, micro_batch_size=4),)
CASES = (
    Case("30M", "float32", 64, False),
    *(Case("0.6B", "float32", 256, checkpointing) for checkpointing in (False, True)),
    *(Case("0.6B", "bfloat16", 256, checkpointing) for checkpointing in (False, True)),
    Case("0.6B", "bfloat16", 256, True, has_teacher=True),
    *(Case("1.7B", "bfloat16", 256, checkpointing) for checkpointing in (True, False)),
)


class NoCheckpoint(TrainerCallback):
    """Keeps the trainer from writing gigabytes at the end."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        control.should_save = False
        return control


def rows(place: Place) -> Rows:
    for case in SMALL if place.is_small else CASES:
        yield row_of(case, place)


def row_of(case: Case, place: Place) -> Row:
    """The plan of a case, and what it held."""
    settings = RLRTConfig(
        model=PolicyConfig(dtype=case.dtype),
        credit="sdpo" if case.has_teacher else "grpo",
        max_steps=2,
        prompts_per_step=case.num_prompts,
        num_generations=case.num_generations,
        micro_batch_size=case.micro_batch_size,
        max_prompt_length=PROMPT,
        max_completion_length=case.length,
        gradient_checkpointing=case.checkpointing,
        evaluate_start=False,
        save_every=3,
    )
    config = config_of(case.model)
    shape = shape_of(config.to_dict())
    assert shape is not None
    teacher = TeacherSize(1.0, settings.distillation) if case.has_teacher else NO_TEACHER
    planned = memory(settings, shape, 1, teacher)
    measured = most_bytes(settings, config, place)
    return {
        "model": case.model,
        "dtype": case.dtype,
        "tokens": case.length,
        "checkpointing": case.checkpointing,
        "teacher": case.has_teacher,
        "planned_gib": sum(planned.values()) / 2**30,
        "measured_gib": measured / 2**30,
        "planned_of_measured": sum(planned.values()) / measured,
    }


def most_bytes(settings: RLRTConfig, config: Qwen3Config, place: Place) -> int:
    """The most memory that the steps held (bytes)."""
    gc.collect()
    begin = peak(place)
    if place.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        begin = 0
    with tempfile.TemporaryDirectory() as folder:
        run = run_dir.create(compose(["plugin=rlrt", "method=grpo"]), root=Path(folder))
        ctx = RunContext(
            run=run, seed=0, attempt=0, devices=(), resume_from=None, keep_checkpoints=1
        )
        torch.manual_seed(0)
        policy = Policy(
            built(config, loaded_dtype(settings), place), load_tokenizer(PolicyConfig())
        )
        sets = CountdownDataset(CountdownConfig()).load(ctx)
        trainer = build_trainer(ctx, policy, sets, settings, make_objective(settings))
        trainer.add_callback(NoCheckpoint())
        trainer.train()
    return peak(place) - begin


def peak(place: Place) -> int:
    if place.device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def built(config: Qwen3Config, dtype: str, place: Place) -> Qwen3ForCausalLM:
    """Random weights, made where they are used: the CPU would take minutes."""
    with torch.device(place.device):
        return Qwen3ForCausalLM(config).to(getattr(torch, dtype)).eval()
