"""Curves of entropy, length, reward and scores over steps."""
