"""Rows and grids of pictures."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from tlab_diffusion.errors import InputError
from tlab_diffusion.plots._arrays import as_pictures, check_length
from tlab_diffusion.plots.style import WIDTH, Picture, bare_axes, new_figure

LARGEST = 2.4  # inches: few pictures do not become huge
TITLE_HEIGHT, LINE_HEIGHT, GAP = 0.3, 0.18, 0.1  # inches


def picture_strip(pictures, labels: Sequence[str], *, title: str) -> Picture:
    r"""Pictures in one row, a label above each.

    Args:
        pictures: (N, H, W, 3) uint8, or (N, 3, H, W) floats in [-1, 1].
        labels: N short texts, such as "t = 250".
        title: a phrase, shown above and read aloud.

    Raises:
        InputError: on pictures of another shape, or another number of labels.
    """
    return picture_grid(pictures, labels, columns=len(labels), title=title)


def picture_grid(pictures, captions: Sequence[str], *, columns: int, title: str) -> Picture:
    r"""Pictures row by row, a caption above each.

    Args:
        pictures: (N, H, W, 3) uint8, or (N, 3, H, W) floats in [-1, 1].
        captions: N short texts, "" for none.
        columns: pictures in a row, at least 1.
        title: a phrase, shown above and read aloud.

    Raises:
        InputError: on pictures of another shape, another number of captions, or no columns.
    """
    pictures = as_pictures("pictures", pictures)
    check_length("captions", len(captions), len(pictures), "picture")
    if columns < 1:
        raise InputError("columns", got=str(columns), expected="at least 1")
    rows = math.ceil(len(pictures) / columns)
    side = min(LARGEST, WIDTH / columns)
    aspect = pictures.shape[1] / pictures.shape[2]
    lines = max(caption.count("\n") + 1 for caption in captions)
    height = TITLE_HEIGHT + rows * ((side - GAP) * aspect + LINE_HEIGHT * lines + GAP)
    figure = new_figure(height, width=max(side * columns, WIDTH / 2), title=title)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid:
        axes.set_axis_off()
    for axes, picture, caption in zip(grid, pictures, captions, strict=False):
        show_picture(axes, picture, caption)
    return Picture(figure, title)


def show_picture(axes: Axes, picture, label: str = ""):
    """Draw one (H, W, 3) picture into axes, its pixels as squares; returns matplotlib's image."""
    axes.set_axis_on()
    bare_axes(axes, title=label)
    return axes.imshow(picture, interpolation="nearest")
