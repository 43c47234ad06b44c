"""The data of a run: the subject's pictures, the identifier and the random batches.

In: a folder of pictures, a tokenizer, a seed. Out: pictures (N, R, R, 3) uint8, and the timesteps,
noise and sample numbers of each step.
"""
