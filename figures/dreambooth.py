"""Draws figures/dreambooth.png: Pip, learned from five pictures, in new places.

It trains a model first, as lesson 08 does, and takes the step that the run finds best: a few
minutes on a CPU.
"""

import tempfile
from pathlib import Path
from textwrap import fill

import numpy as np

from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.presets import usual_evaluations
from tlab_diffusion.dreambooth.run import run
from tlab_diffusion.picturebook import subject_pictures
from tlab_diffusion.pipelines import load, sample
from tlab_diffusion.pipelines.sampler_settings import measuring_settings
from tlab_diffusion.plots import Picture, picture_grid

TITLE = "Five pictures of Pip, and what the tuned model draws"
PROMPTS = (
    "a zwx robot on the moon",
    "a zwx robot in the snow wearing a crown",
    "a watercolour of a zwx robot",
    "a robot",
)
NUM = 5


def draw() -> Picture:
    references = np.stack(subject_pictures("pip", size=64))
    with tempfile.TemporaryDirectory() as folder:
        config = DreamBoothConfig(
            subject_images=Path("pip"),
            identifier="zwx",
            class_noun="robot",
            output=Path(folder) / "tuned",
            max_steps=800,
            prior_loss_weight=2.0,
            train_text_encoder=False,
        )
        every = usual_evaluations(config.model, config.max_steps)
        for _ in run(config, references, evaluate_every=every):
            pass
        pipeline, scale = load(config.output), measuring_settings(config.resolution).guidance_scale
        drawn = list(sample(pipeline, PROMPTS, num=NUM, guidance_scale=scale))
    captions = [
        fill(text, 22) if not number else ""
        for text in ("five pictures of Pip", *PROMPTS)
        for number in range(NUM)
    ]
    return picture_grid([*references, *drawn], captions, columns=NUM, title=TITLE)


if __name__ == "__main__":
    draw().save(Path(__file__).with_suffix(".png"))
