"""Sampling completions and scoring them: the decoder, transformers, vLLM."""
