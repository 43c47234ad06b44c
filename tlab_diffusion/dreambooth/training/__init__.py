"""The training of a run: the loss, the optimizers, one step, and the trainer.

In: cached latents and prompts. Out: events such as `TrainStep`, one after another.
"""
