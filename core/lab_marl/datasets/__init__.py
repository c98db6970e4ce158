"""The dataset component: episodes of several tasks, from files or generated."""
