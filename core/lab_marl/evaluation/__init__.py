"""The evaluator component: rollouts of a policy, their scores and figures."""
