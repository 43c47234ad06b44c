"""Checks before a run, and estimates of its memory, time and disk space.

In: a config. Out: the pictures and estimates that training uses, or one error that lists every
problem. Weights are not loaded.
"""
