"""GRPO and its relatives, self-distillation, and the supervised warm start."""
