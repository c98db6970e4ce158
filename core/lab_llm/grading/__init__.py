"""Grading: from a completion's text to its reward."""
