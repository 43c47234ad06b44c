"""Draws figures/before_after.png: pictures by the original model and by the tuned one."""

from pathlib import Path

from tlab_diffusion.course.widgets import before_after
from tlab_diffusion.plots import Picture


def draw() -> Picture:
    return before_after().picture()


if __name__ == "__main__":
    draw().save(Path(__file__).with_suffix(".png"))
