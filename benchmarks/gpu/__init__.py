"""What one GPU is asked: `make gpu` (python -m gpu). A small form runs on a CPU.

Each section is a module with `rows(place)`: it yields one flat row of results after another. Each
runs in a process of its own, under its own limit, and its rows are kept as they come.
"""
