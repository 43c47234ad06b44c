"""Draws figures/before_after.png: pictures by the original model and by the tuned one."""

from pathlib import Path

from tlab_diffusion.course.stored import load_sheet
from tlab_diffusion.course.widgets import before_after
from tlab_diffusion.plots import Picture

SHOWN = 5  # a row; the sixth is another of the bare class


def draw() -> Picture:
    captions, pictures = load_sheet()
    before, after = (pictures["pip"][method][:SHOWN] for method in ("original", "dreambooth"))
    return before_after(before, after, captions["pip"][:SHOWN]).picture()


if __name__ == "__main__":
    draw().save(Path(__file__).with_suffix(".png"))
