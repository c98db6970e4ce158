"""One attempt at a run: where it came from, what it may use, how it failed."""
