"""A heat map with a number in each cell, for a page and for a live figure."""

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.text import Text

from tlab_diffusion.plots.style import INK, PALE

COLOURS = colormaps["cividis"].with_extremes(bad=PALE)
DARK = 0.55  # below this value the colours are dark, and numbers on them white


class HeatCells:
    """The cells of a map, to be filled.

    Args:
        axes: where to draw.
        shape: rows and columns.
        size: of the numbers, in points.
    """

    def __init__(self, axes: Axes, shape: tuple[int, int], size: float):
        axes.grid(visible=False)
        self.image: AxesImage = axes.imshow(
            np.zeros(shape), cmap=COLOURS, vmin=0, vmax=1, aspect="auto"
        )
        self.numbers: dict[tuple[int, int], Text] = {
            (row, column): axes.text(column, row, "", ha="center", va="center", size=size)
            for row, column in np.ndindex(shape)
        }

    def fill(self, values: np.ndarray, best: tuple[int, int] | None) -> None:
        """Show values (R, C) from 0 to 1, NaN where there is none, and a star at the best."""
        self.image.set_data(np.ma.masked_invalid(values))
        for place, number in self.numbers.items():
            value = values[place]
            star = " ★" if place == best else ""
            number.set_text("–" if np.isnan(value) else f"{value:.2f}{star}")
            number.set_color("white" if value < DARK else INK)
            number.set_weight("bold" if star else "normal")
