"""The analyses of the RLRT paper (arXiv 2605.10781), each an evaluator with a figure."""
