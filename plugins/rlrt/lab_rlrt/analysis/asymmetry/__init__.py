"""What a teacher knows and the student does not, along rollouts."""
