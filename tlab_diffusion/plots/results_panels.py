r"""The live figure of the results browser: a grid as a heat map, and what one of its cells drew."""

from collections.abc import Sequence
from textwrap import fill

import numpy as np

from tlab_diffusion.plots.heat_cells import HeatCells
from tlab_diffusion.plots.live import LiveFigure
from tlab_diffusion.plots.style import INK, PALETTE, WIDTH, bare_axes, style_axes

HEIGHT = 4.3  # inches
MAP_LEFT, MAP_BOTTOM, MAP_WIDTH, MAP_HEIGHT = 0.85, 0.62, 3.95, 3.2
LARGE, LARGE_LEFT, GAP = 3.2, 5.15, 0.06  # of the pictures, in inches
LETTERS = 52  # in a line above them


class ResultsPanels(LiveFigure):
    """A heat map with a number in each cell, one picture large, and its neighbours small.

    Args:
        rows, columns: how the lines of the grid are called, from the top and from the left.
        labels: what rows and columns are.
        pictures: (N, H, W, 3) uint8, any cell's; as many will be shown.
    """

    def __init__(
        self,
        rows: Sequence[str],
        columns: Sequence[str],
        labels: tuple[str, str],
        pictures: np.ndarray,
    ):
        super().__init__(WIDTH, HEIGHT)
        self._draw_map(rows, columns, labels)
        self._draw_pictures(pictures)

    def show_values(self, values: np.ndarray, name: str, best: tuple[int, int]) -> None:
        """The numbers of all cells, (R, C) from 0 to 1, NaN where nothing was measured."""
        self._cells.fill(values, best)
        self._name.set_text(f"{name}, from 0 to 1 (★: the highest)")
        self.still_changed()  # numbers are slow to draw, and seldom change

    def show_cell(self, place: tuple[int, int], pictures: np.ndarray, chosen: int, text: str):
        """Show a cell: its pictures (N, H, W, 3) uint8, the one chosen, and its prompt."""
        row, column = place
        self._frame.set_data(
            [column - 0.5, column + 0.5, column + 0.5, column - 0.5, column - 0.5],
            [row - 0.5, row - 0.5, row + 0.5, row + 0.5, row - 0.5],
        )
        self._large.set_data(pictures[chosen])
        self._text.set_text(fill(text, LETTERS, max_lines=2, placeholder=" …"))
        for number, (image, picture) in enumerate(zip(self._small, pictures, strict=True)):
            image.set_data(picture)
            self._rings[number].set_visible(number == chosen)

    def _draw_map(
        self, rows: Sequence[str], columns: Sequence[str], labels: tuple[str, str]
    ) -> None:
        axes = self.axes_at(MAP_LEFT, MAP_BOTTOM, MAP_WIDTH, MAP_HEIGHT)
        style_axes(axes, xlabel=labels[1], ylabel=labels[0])
        size = 9.5 if len(columns) <= 6 else min(8, 64 / len(columns))  # the star fits in too
        self._cells = HeatCells(axes, (len(rows), len(columns)), size)
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), rows)
        (self._frame,) = axes.plot([], [], color=PALETTE["vermilion"], linewidth=3.5)
        self._frame.set_clip_on(False)
        self._name = axes.text(0, 1.03, "", transform=axes.transAxes, size=10.5, color=INK)
        self.moving(self._frame)

    def _draw_pictures(self, pictures: np.ndarray) -> None:
        axes = self.axes_at(LARGE_LEFT, MAP_BOTTOM, LARGE, LARGE)
        bare_axes(axes)
        self._large = axes.imshow(pictures[0], interpolation="nearest")
        self._text = axes.text(0, 1.03, "", transform=axes.transAxes, size=10.5, color=INK)
        side = min(1.0, (LARGE + GAP) / len(pictures) - GAP)
        self._small, self._rings = [], []
        for number, picture in enumerate(pictures):
            top = MAP_BOTTOM + LARGE - number * (side + GAP)
            small = self.axes_at(LARGE_LEFT + LARGE + 0.12, top - side, side, side)
            bare_axes(small)
            self._small.append(small.imshow(picture, interpolation="nearest"))
            ring = small.plot([0, 1, 1, 0, 0], [0, 0, 1, 1, 0], transform=small.transAxes)[0]
            ring.set(color=PALETTE["vermilion"], linewidth=5)
            self._rings.append(ring)
        self.moving(self._large, self._text, *self._small, *self._rings)
