"""Toolkit that language-model plugins share: policies, rollouts, verifiers, tasks, GRPO."""
