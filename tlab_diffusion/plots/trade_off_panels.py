r"""The live figure of the trade-off curve: what a run gains and loses, and what it drew."""

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np

from tlab_diffusion.plots.live import LiveFigure
from tlab_diffusion.plots.style import (
    DASHES,
    GREY,
    INK,
    PALETTE,
    WIDTH,
    bare_axes,
    legend,
    style_axes,
)

HEIGHT = 4.5  # inches
LEFT, BOTTOM, CURVES, TALL = 0.55, 1.0, 4.6, 3.1
COLUMNS, SIDE, GAP, ABOVE = 2, 1.72, 0.15, 0.4  # of the pictures, in inches


class TradeOffPanels(LiveFigure):
    """Curves over the steps of a run, and up to four pictures of the step that is chosen.

    Args:
        steps: (S,), rising.
        curves: {name: (S,)}, from 0 to 1; the last one is drawn thicker than the others.
        best: the step to mark.
        pictures: (N, H, W, 3) uint8 of any step, N up to 4; None where there are none.
        captions: N texts.
    """

    def __init__(
        self,
        steps: Sequence[int],
        curves: Mapping[str, Sequence[float]],
        best: int,
        pictures: np.ndarray | None,
        captions: Sequence[str],
    ):
        super().__init__(WIDTH, HEIGHT)
        self._steps, self._values = list(steps), list(curves.values())
        width = CURVES if pictures is not None else WIDTH - LEFT - 0.2
        self._draw_curves(list(curves), best, width)
        self._images = []
        if pictures is not None:
            self._draw_pictures(pictures, captions)

    def show(self, index: int, pictures: np.ndarray | None) -> None:
        """Move to the step of that index, and to the pictures of it."""
        step = self._steps[index]
        for dot, values in zip(self._dots, self._values, strict=True):
            dot.set_data([step], [values[index]])
        self._cursor.set_xdata([step, step])
        if pictures is not None:
            for image, picture in zip(self._images, pictures, strict=True):
                image.set_data(picture)

    def _draw_curves(self, names: Sequence[str], best: int, width: float) -> None:
        axes = self.axes_at(LEFT, BOTTOM, width, TALL)
        style_axes(axes, title="what the steps buy, and what they cost", xlabel="step")
        colours = (PALETTE["blue"], PALETTE["green"], PALETTE["vermilion"], INK)
        self._dots = []
        for number, (name, values) in enumerate(zip(names, self._values, strict=True)):
            last = number == len(names) - 1
            look = {"color": colours[number], "linestyle": "-" if last else DASHES[number]}
            wide = 3 if last else 2
            axes.plot(self._steps, values, linewidth=wide, marker=".", label=name, **look)
            self._dots += axes.plot([], [], "o", color=look["color"], markersize=8, zorder=4)
        axes.axvline(best, color=PALETTE["orange"], linewidth=6, alpha=0.45, zorder=0)
        side = "right" if 2 * best > self._steps[-1] else "left"  # where there is room
        axes.text(best, 1.04, "  best  ", ha=side, va="bottom", size=9, color=INK)
        axes.set(ylim=(-0.03, 1.12))
        legend(axes, loc="upper left", bbox_to_anchor=(-0.03, -0.15), ncols=4)
        self._cursor = axes.axvline(0, color=GREY, linewidth=1.5, zorder=3)
        self.moving(self._cursor, *self._dots)

    def _draw_pictures(self, pictures: np.ndarray, captions: Sequence[str]) -> None:
        for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
            row, column = divmod(number, COLUMNS)
            left = WIDTH - 0.1 - (COLUMNS - column) * (SIDE + GAP) + GAP
            bottom = HEIGHT - (row + 1) * (SIDE + ABOVE)
            axes = self.axes_at(left, bottom, SIDE, SIDE)
            bare_axes(axes)
            axes.set_title(_two_lines(caption), loc="left", size=9, color=INK, pad=3)
            self._images.append(axes.imshow(picture, interpolation="nearest"))
        self.moving(*self._images)


def _two_lines(caption: str) -> str:
    """As much of a caption as fits above its picture."""
    return fill(caption, 26, max_lines=2, placeholder=" …")
