"""Statistics of runs: pure functions of numbers, each with its source.

S is the number of seeds, P of problems, N of runs, M of tasks.
"""
