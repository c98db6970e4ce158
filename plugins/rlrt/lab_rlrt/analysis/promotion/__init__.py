"""Tokens that were improbable and come first after training."""
