"""Draws figures/latent_walk.png: from one noise to another, and from one prompt to another."""

from pathlib import Path

from tlab_diffusion.course.widgets import latent_walk
from tlab_diffusion.plots import Picture


def draw() -> Picture:
    return latent_walk().picture(position=2)


if __name__ == "__main__":
    draw().save(Path(__file__).with_suffix(".png"))
