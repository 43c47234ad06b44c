"""Draws figures/grid.png: the stored grid of lesson 09 as a heat map, and its best cell."""

from pathlib import Path

from tlab_diffusion.course.widgets import results_browser
from tlab_diffusion.plots import Picture


def draw() -> Picture:
    return results_browser().picture()


if __name__ == "__main__":
    draw().save(Path(__file__).with_suffix(".png"))
