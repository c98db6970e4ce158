"""The evaluator component: accuracy, pass@k, and pages of completions."""
