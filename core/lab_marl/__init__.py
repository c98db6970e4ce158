"""Toolkit that offline multi-agent methods share: episodes, environments, training, evaluation."""
