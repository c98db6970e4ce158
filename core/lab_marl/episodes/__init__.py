"""Episodes of a task: where things lie in them, their files, and batches of them."""
