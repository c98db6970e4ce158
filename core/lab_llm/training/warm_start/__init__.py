"""Supervised warm start: the tiny model learns countdown by imitating written searches."""
