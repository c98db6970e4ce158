"""Runs beside each other, and the results store."""
