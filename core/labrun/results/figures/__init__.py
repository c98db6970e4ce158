"""Figures of compared runs, in a style that a paper takes."""
