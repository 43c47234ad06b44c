"""Small settings, on which a stage runs in a second."""

import dataclasses

import numpy as np

from tlab_diffusion.picturebook import random_scene, render
from tlab_diffusion.pretraining.recipe import load_recipe

STEPS = {"steps": 4, "warm_up_steps": 1, "measure_every": 2, "save_every_s": 0.0}
SHIPPED = load_recipe()
RECIPE = dataclasses.replace(
    SHIPPED,
    vae=dataclasses.replace(
        SHIPPED.vae, num_scenes=6, num_characters=1, batch_size=2, channels=(8, 8, 8), **STEPS
    ),
    text=dataclasses.replace(
        SHIPPED.text, num_scenes=6, batch_size=4, captions_per_scene=2, **STEPS
    ),
    unet=dataclasses.replace(
        SHIPPED.unet, num_scenes=6, batch_size=4, captions_per_scene=2, channels=(16, 16), **STEPS
    ),
)


def scenes(num: int = 6) -> np.ndarray:
    return np.stack([render(random_scene(seed), 64) for seed in range(num)])
