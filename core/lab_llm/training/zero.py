"""The DeepSpeed configuration of a run, and the ZeRO stage in it."""

import json
from importlib.resources import files
from pathlib import Path

from labrun.errors import LabError

from lab_llm.training.config import GRPOSettings

SHIPPED_DEEPSPEED = ("zero2", "zero3")


def deepspeed_path(settings: GRPOSettings) -> str:
    """The DeepSpeed configuration: `zero2` and `zero3` are the package's own; empty: none."""
    if settings.deepspeed in SHIPPED_DEEPSPEED:
        return str(files("lab_llm") / "data" / "deepspeed" / f"{settings.deepspeed}.json")
    return settings.deepspeed


def zero_stage(settings: GRPOSettings) -> int:
    """The ZeRO stage of the DeepSpeed configuration; 0 without any. Raises LabError."""
    if not settings.deepspeed:
        return 0
    path = Path(deepspeed_path(settings))
    try:
        return int(json.loads(path.read_text())["zero_optimization"]["stage"])
    except FileNotFoundError as error:
        raise LabError(
            f"trainer.deepspeed={path}: no such file; "
            f"give a path, or one of {', '.join(SHIPPED_DEEPSPEED)}"
        ) from error
    except OSError as error:
        raise LabError(f"trainer.deepspeed={path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(f"trainer.deepspeed={path}: no zero_optimization.stage in it") from error
