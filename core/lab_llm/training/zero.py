"""The DeepSpeed configuration of a run, the ZeRO stage in it, and whether it fits the keys."""

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from labrun.errors import LabError

from lab_llm.training.config import TrainedWeights

SHIPPED_DEEPSPEED = ("zero2", "zero3")
STAGES = (0, 1, 2, 3)
SECTIONS = ("bf16", "fp16", "data_types", "optimizer", "optimizer.params")
SECTIONS += ("zero_optimization.offload_optimizer", "zero_optimization.offload_param")
"""Entries that are objects wherever they stand."""
OPTIMIZERS = ("AdamW", "Adam")
"""What DeepSpeed calls AdamW, which a run has."""
ABSENT = {"bf16.enabled": False, "gradient_accumulation_steps": 1, "gradient_clipping": 1.0}
"""What accelerate or DeepSpeed takes where the file has no such entry."""
BATCH = ("train_batch_size", "train_micro_batch_size_per_gpu")
"""Entries of which DeepSpeed needs one; nothing fills them in where both are absent."""
FLOAT32 = ("fp32", "float32", "torch.float32", "float")
"""DeepSpeed's names of it."""


@dataclass(frozen=True)
class OptimizerStep:
    """One optimizer step, as a trainer's keys say it."""

    micro_batch_size: int
    """Of one forward and backward pass of one process (count)."""
    batch_size: int
    """Of all processes together (count)."""
    batch_key: str
    """The trainer's key that says `batch_size`."""
    learning_rate: float


def deepspeed_path(settings: TrainedWeights) -> str:
    """The DeepSpeed configuration: `zero2` and `zero3` are the package's own; empty: none."""
    if settings.deepspeed in SHIPPED_DEEPSPEED:
        return str(files("lab_llm") / "data" / "deepspeed" / f"{settings.deepspeed}.json")
    return settings.deepspeed


def zero_stage(settings: TrainedWeights) -> int:
    """The ZeRO stage of the DeepSpeed configuration; 0 without any. Raises LabError."""
    if not settings.deepspeed:
        return 0
    return int(_read(deepspeed_path(settings))["zero_optimization"]["stage"])


def offloaded(settings: TrainedWeights) -> frozenset[str]:
    """What the DeepSpeed configuration keeps in the machine's memory or on its disk, not on the
    GPU: `optimizer` (with the gradients), `param`."""
    if not settings.deepspeed:
        return frozenset()
    entries = _read(deepspeed_path(settings))["zero_optimization"]
    devices = {name: _at(entries, f"offload_{name}.device") for name in ("optimizer", "param")}
    return frozenset(name for name, device in devices.items() if device in ("cpu", "nvme"))


def check_zero_file(settings: TrainedWeights, step: OptimizerStep, *, num_processes: int) -> None:
    """LabError where the DeepSpeed configuration says otherwise than the trainer's keys.

    `auto` takes the key's value, and an entry that is absent DeepSpeed's own (`ABSENT`).
    """
    if not settings.deepspeed:
        return
    path = deepspeed_path(settings)
    found = _read(path)
    _check_entries(found, path)
    for entry, key, expected in _of_keys(settings, step, num_processes):
        value, absent = _at(found, entry), ""
        if value is None and entry in ABSENT:
            value, absent = ABSENT[entry], " (absent)"
        if value not in (None, "auto", expected):
            raise LabError(
                f"trainer.deepspeed={path}: {entry}={json.dumps(value)}{absent} contradicts {key}, "
                f'which makes it {json.dumps(expected)}; set it to "auto", or change the key'
            )
    if settings.model.dtype == "bfloat16" and zero_stage(settings):
        _check_accumulation(found, path)


def _check_entries(found: Mapping[str, Any], path: str) -> None:
    """LabError where the file would put something of its own in place of the trainer's."""
    if "scheduler" in found:
        raise LabError(
            f"trainer.deepspeed={path}: its scheduler would stand in place of the trainer's own; "
            "take it out, and leave the learning rate to the trainer's keys"
        )
    kind = _at(found, "optimizer.type")
    if kind is not None and kind not in OPTIMIZERS:
        raise LabError(
            f"trainer.deepspeed={path}: optimizer.type={json.dumps(kind)}; allowed: "
            f"{', '.join(OPTIMIZERS)}; take the optimizer out, and the run has its own AdamW"
        )
    if not any(entry in found for entry in BATCH):
        raise LabError(
            f"trainer.deepspeed={path}: neither {' nor '.join(BATCH)} in it, and DeepSpeed needs "
            f'one of them; add "{BATCH[1]}": "auto"'
        )


def _check_accumulation(found: Mapping[str, Any], path: str) -> None:
    """LabError where gradients of bfloat16 weights would be added up in less than float32."""
    entry = "data_types.grad_accum_dtype"
    value = _at(found, entry)
    if value in FLOAT32:
        return
    got = "is absent" if value is None else f"is {json.dumps(value)}"
    raise LabError(
        f"trainer.deepspeed={path}: {entry} {got}: gradients would not be added up in float32, "
        'which the plan counts; set "data_types": {"grad_accum_dtype": "fp32"}'
    )


def _of_keys(
    settings: TrainedWeights, step: OptimizerStep, num_processes: int
) -> list[tuple[str, str, object]]:
    """(entry of the file, key of the trainer, what the key says) of all that both can say."""
    size, total = step.micro_batch_size, step.batch_size
    accumulated = total // num_processes // size
    return [
        ("bf16.enabled", "trainer.model.dtype", settings.model.dtype == "bfloat16"),
        ("fp16.enabled", "trainer.model.dtype", False),
        ("train_micro_batch_size_per_gpu", "trainer.micro_batch_size", size),
        ("gradient_accumulation_steps", "trainer.micro_batch_size", accumulated),
        ("train_batch_size", step.batch_key, total),
        ("gradient_clipping", "trainer.max_grad_norm", settings.max_grad_norm),
        ("optimizer.params.lr", "trainer.learning_rate", step.learning_rate),
        ("optimizer.params.weight_decay", "trainer.weight_decay", settings.weight_decay),
    ]


def missing_deepspeed(settings: TrainedWeights) -> list[str]:
    """What this machine lacks for DeepSpeed, where it is asked for. Raises LabError."""
    if not zero_stage(settings) or importlib.util.find_spec("deepspeed"):
        return []
    return [
        f"trainer.deepspeed={settings.deepspeed}, but deepspeed is not installed; "
        "`pip install 'labrun[gpu]'`, or trainer.deepspeed=''"
    ]


def _at(values: Mapping[str, Any], entry: str) -> Any:
    """What stands at a dotted place; None where nothing does."""
    found: Any = values
    for name in entry.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _read(path: str) -> dict[str, Any]:
    """The file, which names a ZeRO stage. Raises LabError."""
    try:
        found = json.loads(Path(path).read_text())
    except FileNotFoundError as error:
        raise LabError(
            f"trainer.deepspeed={path}: no such file; "
            f"give a path, or one of {', '.join(SHIPPED_DEEPSPEED)}"
        ) from error
    except OSError as error:
        raise LabError(f"trainer.deepspeed={path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise LabError(f"trainer.deepspeed={path}: it is no JSON: {error}") from error
    stage = _at(found, "zero_optimization.stage") if isinstance(found, dict) else None
    if stage is None:
        raise LabError(f"trainer.deepspeed={path}: no zero_optimization.stage in it")
    if type(stage) is not int or stage not in STAGES:
        raise LabError(
            f"trainer.deepspeed={path}: zero_optimization.stage={json.dumps(stage)}; "
            f"allowed: {', '.join(map(str, STAGES))}"
        )
    for name in SECTIONS:
        section = _at(found, name)
        if section is not None and not isinstance(section, Mapping):
            raise LabError(
                f"trainer.deepspeed={path}: {name}={json.dumps(section)}; allowed: an object, such "
                'as {"enabled": "auto"} of bf16, or leave it out'
            )
    return found
