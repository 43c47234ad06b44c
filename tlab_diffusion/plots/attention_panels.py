r"""Attention as colour over pictures, and the live figure of the attention explorer."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps

from tlab_diffusion.errors import InputError
from tlab_diffusion.plots._arrays import as_array, as_pictures, check_length
from tlab_diffusion.plots.live import LiveFigure
from tlab_diffusion.plots.style import GREY, INK, PALETTE, WIDTH, bare_axes, style_axes

HEIGHT = 3.9  # inches
SIDE, TOP = 3.1, 0.42  # of the two pictures, in inches
HEAT = colormaps["inferno"]
STRENGTH = 0.72  # of the colour, where it covers the picture most


def heat_over(pictures, maps) -> np.ndarray:
    r"""Lay attention maps over grey pictures, in colour.

    Each map is scaled to its own greatest value: compare places within a picture, not pictures.

    Args:
        pictures: (N, H, W, 3) uint8, or (N, 3, H, W) floats in [-1, 1].
        maps: (N, h, w), not negative; h and w divide H and W.

    Returns:
        (N, H, W, 3) uint8.

    Raises:
        InputError: on shapes that do not fit together.
    """
    pictures, maps = as_pictures("pictures", pictures), as_array("maps", maps, 3)
    check_length("maps", len(maps), len(pictures), "picture")
    height, width = pictures.shape[1:3]
    if height % maps.shape[1] or width % maps.shape[2]:
        raise InputError("maps", got=f"shape {maps.shape[1:]}", expected=f"divisors of {height}")
    big = maps.repeat(height // maps.shape[1], axis=1).repeat(width // maps.shape[2], axis=2)
    big = big / np.maximum(big.max(axis=(1, 2), keepdims=True), 1e-12)
    grey = pictures.mean(axis=3, keepdims=True)
    mixed = (1 - STRENGTH) * grey + STRENGTH * 255 * HEAT(big)[..., :3]
    return mixed.round().astype(np.uint8)


class AttentionPanels(LiveFigure):
    """A picture, the places that look at a word, and every word's share of the attention.

    Args:
        labels: the words, and what else takes attention, as the bars are called.
        first: (H, W, 3) uint8, any picture of that size.
        longest: the greatest share that a bar will show.
    """

    def __init__(self, labels: Sequence[str], first: np.ndarray, longest: float):
        super().__init__(WIDTH, HEIGHT)
        bottom = HEIGHT - TOP - SIDE
        self._images, self._titles = [], []
        for left in (0.08, 0.08 + SIDE + 0.12):
            axes = self.axes_at(left, bottom, SIDE, SIDE)
            bare_axes(axes)
            self._images.append(axes.imshow(first, interpolation="nearest"))
            # Text of axes, not of the figure: a still figure leaves out its own moving artists.
            title = axes.text(0, 1.03, "", transform=axes.transAxes)
            title.set(size=10.5, color=INK)
            self._titles.append(title)
        self._draw_bars(labels, longest)
        self.moving(*self._images, *self._titles, *self._bars)

    def show(
        self, picture: np.ndarray, heat: np.ndarray, shares: Sequence[float], chosen: int, when: str
    ) -> None:
        """A picture, its heat (both (H, W, 3) uint8), the bars, and which of them is chosen."""
        for image, pixels in zip(self._images, (picture, heat), strict=True):
            image.set_data(pixels)
        self._titles[0].set_text(f"what the model foresees {when}")
        self._titles[1].set_text(f"who looks at “{self._labels[chosen]}”")
        for number, (bar, share) in enumerate(zip(self._bars, shares, strict=True)):
            bar.set_width(share)
            bar.set_facecolor(PALETTE["vermilion"] if number == chosen else GREY)

    def _draw_bars(self, labels: Sequence[str], longest: float) -> None:
        self._labels = list(labels)
        left = 0.08 + 2 * SIDE + 0.12 + 1.15
        axes = self.axes_at(left, 0.62, WIDTH - left - 0.15, HEIGHT - TOP - 0.62)
        style_axes(axes, title="share of all attention")
        axes.grid(visible=False, axis="y")
        self._bars = axes.barh(range(len(labels)), [0] * len(labels), height=0.7, color=GREY)
        axes.set_yticks(range(len(labels)), labels)
        axes.set(xlim=(0, 1.08 * longest), ylim=(len(labels) - 0.4, -0.6))
        axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
