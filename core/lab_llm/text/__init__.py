"""Prompts and completions as text: chat templates, prompts, thinking, epistemic words."""
