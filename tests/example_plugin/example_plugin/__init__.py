"""Linear regression by SGD, a small method that needs no deep-learning library."""
