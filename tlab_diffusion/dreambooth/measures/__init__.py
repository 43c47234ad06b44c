"""Measure fine-tuned models, compare them with the base model, and choose the best step.

In: a model and the subject's pictures. Out: `evaluation.result.Metrics`.
"""
