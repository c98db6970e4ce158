"""Words of uncertainty in completions, counted and shown."""
