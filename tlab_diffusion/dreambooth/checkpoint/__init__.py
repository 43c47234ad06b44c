"""What a run saves in its output folder: `run.json`, checkpoints and the exported pipeline.

In: the trainer's state. Out: the state of a resumed run, and a folder that diffusers loads.
"""
