"""Cheap policies that play the episodes of generated data."""
