r"""The live figure of the before/after slider: a border moves through every picture at once."""

import math
from collections.abc import Sequence
from textwrap import fill

import numpy as np

from tlab_diffusion.plots.live import LiveFigure
from tlab_diffusion.plots.style import INK, PALETTE, WIDTH, bare_axes

COLUMNS, LARGEST, GAP, HEADER, LINE = 5, 2.6, 0.1, 0.34, 0.17  # inches, but for COLUMNS
CHARACTERS = 13  # of a caption, for each inch of its picture


class BeforeAfterPanels(LiveFigure):
    """Pictures in rows: the earlier one left of a border, the later one right of it.

    Args:
        before, after: (N, H, W, 3) uint8, pair by pair.
        captions: N short texts.
        names: of the two sides.
    """

    def __init__(
        self,
        before: np.ndarray,
        after: np.ndarray,
        captions: Sequence[str],
        names: tuple[str, str],
    ):
        self._before, self._after = before, after
        columns = min(COLUMNS, len(before))
        side = min(LARGEST, (WIDTH - GAP) / columns - GAP)
        captions = [fill(caption, round(CHARACTERS * side)) for caption in captions]
        above = LINE * (1 + max(caption.count("\n") for caption in captions)) + 0.06
        self._height = HEADER + math.ceil(len(before) / columns) * (side + above + GAP)
        super().__init__(WIDTH, self._height)
        self._images, self._borders = [], []
        for number, caption in enumerate(captions):
            row, column = divmod(number, columns)
            top = self._height - HEADER - (row + 1) * above - row * (side + GAP)
            self._draw_pair(GAP + column * (side + GAP), top - side, side, caption)
        self._write_names(names)
        self.moving(*self._images, *self._borders)

    def show(self, share: float) -> None:
        """Put the border after a share, 0 to 1, of every picture's width."""
        at = round(share * self._before.shape[2])
        mixed = np.concatenate([self._before[:, :, :at], self._after[:, :, at:]], axis=2)
        for image, border, picture in zip(self._images, self._borders, mixed, strict=True):
            image.set_data(picture)
            border.set_xdata([at - 0.5, at - 0.5])

    def _draw_pair(self, left: float, bottom: float, side: float, caption: str) -> None:
        place = (left / WIDTH, bottom / self._height, side / WIDTH, side / self._height)
        axes = self.figure.add_axes(place)
        bare_axes(axes)
        axes.set_title(caption, loc="left", size=9.5, color=INK, pad=4)
        image = axes.imshow(self._before[len(self._images)], interpolation="nearest")
        self._images.append(image)
        self._borders.append(axes.axvline(0, color=PALETTE["vermilion"], linewidth=2.5))

    def _write_names(self, names: tuple[str, str]) -> None:
        y = 1 - 0.2 / self._height
        words = f"left of the line: {names[0]}   |   right of it: {names[1]}"
        look = {"size": 10.5, "weight": "bold", "color": INK, "va": "center"}
        self.figure.text(GAP / WIDTH, y, words, **look)
