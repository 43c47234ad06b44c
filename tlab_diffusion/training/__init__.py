"""The training code that lessons, pretraining and DreamBooth share.

trainer      the training step: gradients, clipping, EMA, checkpoints
loop         the training loop of the lessons
schedule     learning-rate schedules
ema          exponential moving averages of weights
checkpoints  tensors of a run in one safetensors file
generators   random numbers as a function of a seed and integers
fingerprint  hashes of weights and values, used as keys of caches
precision    fp32, bf16 or fp16: what runs in which
hardware     devices, memory and speed settings
"""
