"""Draws figures/samples.png: what `picturebook` draws for 100 captions, none left out."""

from pathlib import Path

import numpy as np
from PIL import Image

from tlab_diffusion.evaluation.pictures import FIRST_TEST_SEED
from tlab_diffusion.picturebook import caption, random_scene
from tlab_diffusion.pipelines import load, sample

COLUMNS, ROWS, GAP = 10, 10, 4


def draw() -> Image.Image:
    """Captions of the first 100 scenes that no training saw, each drawn once."""
    prompts = [caption(random_scene(FIRST_TEST_SEED + n)) for n in range(COLUMNS * ROWS)]
    pictures = list(sample(load("picturebook"), prompts, seed=0, progress=True))
    side = pictures[0].shape[0] + GAP
    sheet = np.full((ROWS * side + GAP, COLUMNS * side + GAP, 3), 255, np.uint8)
    for place, picture in enumerate(pictures):
        row, column = divmod(place, COLUMNS)
        top, left = GAP + row * side, GAP + column * side
        sheet[top : top + len(picture), left : left + len(picture)] = picture
    return Image.fromarray(sheet)


if __name__ == "__main__":
    draw().save(Path(__file__).with_suffix(".png"))
