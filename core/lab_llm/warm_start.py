"""The warm start as a component: its trainer, with a plan of the memory that it takes."""

from dataclasses import asdict, replace
from typing import Any

from labrun.plan import Plan, Setup

from lab_llm.planning.fine_tuning import check_memory
from lab_llm.planning.process_memory import process_parts, shown
from lab_llm.planning.shapes import shape_of
from lab_llm.policy.tiny_model import TinyModelConfig
from lab_llm.training.config import TrainedWeights
from lab_llm.training.warm_start.trainer import WarmStartTrainer


class WarmStart(WarmStartTrainer):
    """Trains the tiny model from random weights on the countdown task's warm-start splits."""

    def plan(self, setup: Setup) -> Plan:
        """Sizes of its data and its model. Raises LabError with any data set but countdown, or
        where the GPU that is here is too small."""
        plan = super().plan(setup)
        return replace(plan, facts={**plan.facts, **self._memory(setup)})

    def _memory(self, setup: Setup) -> dict[str, object]:
        """At most: no example is longer than the model's context."""
        shape = shape_of(config_fields(self.sizes))
        assert shape is not None
        tokens = self.config.batch_size * self.sizes.max_positions
        parts = process_parts(TrainedWeights(), shape, tokens=tokens, num_processes=1)
        check_memory(parts, setup)
        return {
            "parameters": f"at most {shape.num_parameters:,}",
            "gpu_memory_gib": shown(parts),
        }


def config_fields(sizes: TinyModelConfig) -> dict[str, object]:
    """The tiny model's sizes by the names of a Qwen3's config.json."""
    fields: dict[str, Any] = asdict(sizes)
    fields |= {
        "num_hidden_layers": fields.pop("num_layers"),
        "num_attention_heads": fields.pop("num_heads"),
        "num_key_value_heads": fields.pop("num_kv_heads"),
        "max_position_embeddings": fields.pop("max_positions"),
    }
    return fields | {"model_type": "qwen3", "tie_word_embeddings": True}
