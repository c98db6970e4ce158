"""The run directory, which is the truth about a run: what it holds and how it is read."""
