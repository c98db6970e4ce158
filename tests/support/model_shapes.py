"""Sizes of models for hand-worked plans."""

from lab_llm.planning.estimates import ModelShape

SMALL = ModelShape(
    num_layers=2,
    hidden_size=8,
    num_heads=4,
    num_kv_heads=2,
    head_dim=4,
    intermediate_size=10,
    vocab_size=100,
    num_parameters=2904,
    context_length=64,
)
