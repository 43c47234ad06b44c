"""Draws figures/trade_off.png: the trade-off curves of a run, with its pictures."""

from pathlib import Path

from tlab_diffusion.course.widgets import trade_off_explorer
from tlab_diffusion.plots import Picture


def draw() -> Picture:
    return trade_off_explorer().picture()


if __name__ == "__main__":
    draw().save(Path(__file__).with_suffix(".png"))
