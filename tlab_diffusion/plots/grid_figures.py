r"""Static figures of a grid: heat maps of its numbers, and the pictures of each cell."""

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np

from tlab_diffusion.plots.heat_cells import HeatCells
from tlab_diffusion.plots.pictures import show_picture
from tlab_diffusion.plots.style import INK, Picture, new_figure, style_axes

LARGE, SMALL = 0.42, 0.26  # inches: the height of a row
FRAME = 0.85  # inches, of each map: its title and labels
TITLE = 95  # letters in a line
SIDE, MARGIN, ABOVE = 1.2, 1.6, 1.0  # inches, of the page of pictures
LETTERS, COLUMN = 9.5, 15  # of the title to the inch; of a line above a column


def heat_maps(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Mapping[str, np.ndarray],
    *,
    labels: tuple[str, str],
    best: tuple[int, int] | None,
    title: str,
) -> Picture:
    r"""One large map, and the others small beside it.

    Args:
        rows, columns: how the lines of the grid are called, from the top and from the left.
        values: {name: (R, C)} from 0 to 1, NaN where nothing was measured; the first is large.
        labels: what rows and columns are.
        best: the place that gets a star in all maps, (row, column).
        title: a phrase, shown above and read aloud.
    """
    first, *others = values
    height = max(len(rows) * LARGE + FRAME, len(others) * (len(rows) * SMALL + FRAME)) + 0.5
    figure = new_figure(height, title=fill(title, TITLE))
    layout = [[first, name] for name in others] or [[first]]
    ratios = {"width_ratios": (1.7, 1)} if others else {}
    all_axes = figure.subplot_mosaic(layout, **ratios)
    for name, table in values.items():
        axes = all_axes[name]
        style_axes(axes, title=name, xlabel=labels[1], ylabel=labels[0])
        size = 10 if name == first else 7.5
        size = size if len(columns) <= 6 else 0.75 * size
        HeatCells(axes, table.shape, size).fill(table, best)
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), rows)
    return Picture(figure, title)


def picture_page(
    pictures: np.ndarray, rows: Sequence[str], columns: Sequence[str], *, title: str
) -> Picture:
    r"""A page of pictures with a name for each row and each column.

    Args:
        pictures: (R, C, H, W, 3) uint8.
        rows: R short texts.
        columns: C texts.
        title: a phrase, shown above and read aloud.
    """
    width = MARGIN + SIDE * len(columns)
    letters = int(LETTERS * width)  # of the title
    height = SIDE * len(rows) + ABOVE
    figure = new_figure(height, width=width, title=fill(title, letters))
    grid = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    side = pictures.shape[3]
    for axes, strip, name in zip(grid, pictures, rows, strict=True):
        show_picture(axes, np.concatenate(list(strip), axis=1))
        axes.set_yticks([strip.shape[1] / 2], [name], size=9.5, color=INK)
        axes.tick_params(length=0)
    grid[0].xaxis.tick_top()
    texts = [fill(text, COLUMN, break_long_words=False) for text in columns]
    grid[0].set_xticks([(i + 0.5) * side for i in range(len(columns))], texts, size=8, color=INK)
    return Picture(figure, title)
