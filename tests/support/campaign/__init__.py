"""Runs that are killed at random moments, resumed, and compared with uninterrupted ones.

python -m campaign --trials 100 --seed 0
"""
