"""Toolkit that language-model plugins share: policies, rollouts, verifiers, tasks, GRPO."""

from lab_llm import lean_imports

lean_imports.begin()
