"""Latents and class pictures, computed once and kept on disk.

In: a pipeline and the subject's pictures. Out: distributions of latents for the training step.
"""
