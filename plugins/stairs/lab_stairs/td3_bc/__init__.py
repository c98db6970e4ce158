"""TD3+BC with the networks of STAIRS-Former, for continuous actions."""
