"""What a component sees of its run."""
