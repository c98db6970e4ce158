"""Why self-distillation can degrade reasoning: the studies of arXiv 2603.24472."""
