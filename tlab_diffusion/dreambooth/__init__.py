r"""DreamBooth: fine-tune a pipeline to a subject from a few pictures (arXiv:2208.12242).

config       the settings of a run, validated
presets      default settings by method and model size
data         the subject's pictures, the identifier, the random batches of a step
cache        latents and class pictures, computed once and kept on disk
families     what depends on the kind of model; Stable Diffusion 1.x and 2.x
methods      what is trained: all weights, LoRA adapters, or one embedding
training     the loss, the optimizers, the training step and the trainer
checkpoint   `run.json`, checkpoints and the exported pipeline
preflight    the checks and the estimate of resources before a run
measures     metrics of a tuned model, comparison with its base, choice of the best step
report       the log of a run, `report.html` and the progress bar
grid         grid search over learning rates and numbers of steps
run          a whole run: training, measuring, report

`preflight.checks.preflight` checks a `config.DreamBoothConfig` and reads the pictures; `run.run`
trains. The result is a pipeline folder that diffusers loads.
"""
