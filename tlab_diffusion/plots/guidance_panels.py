r"""The live figure of the guidance explorer: the same noise at one guidance scale or another.

On the left pictures, on the right a mixture of which everything is known: points that were
guided towards one of its two classes, and what they gain and lose as the scale grows.
"""

from collections.abc import Sequence
from typing import NamedTuple

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
COLUMNS, SIDE, GAP, TOP = 2, 1.92, 0.08, 0.34  # of the pictures, in inches
LIMIT = 2.2  # the points shown reach from -LIMIT to LIMIT
TOLD, REST = PALETTE["vermilion"], PALETTE["blue"]


class GuidedPoints(NamedTuple):
    """Points guided at several scales, each scale from the same noise."""

    points: np.ndarray  # (S, N, 2)
    obeyed: np.ndarray  # (S,), share of the points that are likelier in the class than outside
    spread: np.ndarray  # (S,), their standard deviation


class GuidancePanels(LiveFigure):
    """Four pictures, a cloud of points over the two classes, and two curves.

    Args:
        scales: S guidance scales, rising.
        pictures: (S, 4, H, W, 3) uint8.
        guided: the mixture's points at the same scales.
        told, rest: (M, 2), data of the class that was asked for, and of the other.
    """

    def __init__(
        self,
        scales: Sequence[float],
        pictures: np.ndarray,
        guided: GuidedPoints,
        told: np.ndarray,
        rest: np.ndarray,
    ):
        super().__init__(WIDTH, HEIGHT)
        self._scales, self._pictures, self._guided = list(scales), pictures, guided
        self._draw_pictures(pictures[0])
        self._draw_points(told, rest)
        self._draw_curves()

    def show(self, index: int) -> None:
        """Move to the scale of that index."""
        for image, picture in zip(self._images, self._pictures[index], strict=True):
            image.set_data(picture)
        self._scale.set_text(f"guidance scale {self._scales[index]:g}")
        self._points.set_data(*self._guided.points[index].T)
        for dot, values in zip(self._dots, self._curves, strict=True):
            dot.set_data([index], [values[index]])
        self._cursor.set_xdata([index, index])

    def _draw_pictures(self, first: np.ndarray) -> None:
        self._images = []
        for number, picture in enumerate(first):
            row, column = divmod(number, COLUMNS)
            left = 0.08 + column * (SIDE + GAP)
            axes = self.axes_at(left, HEIGHT - TOP - (row + 1) * SIDE - row * GAP, SIDE, SIDE)
            bare_axes(axes)
            self._images.append(axes.imshow(picture, interpolation="nearest"))
        # Text of axes, not of the figure: a still figure leaves out its own moving artists.
        axes = self._images[0].axes
        self._scale = axes.text(0, 1.05, "", transform=axes.transAxes)
        self._scale.set(size=11, weight="bold", color=INK)
        self.moving(*self._images, self._scale)

    def _draw_points(self, told: np.ndarray, rest: np.ndarray) -> None:
        axes = self.axes_at(4.3, 1.46, 2.7, 2.7)
        style_axes(axes, title="a known mixture")
        axes.grid(visible=False)
        axes.set(xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT), xticks=[], yticks=[])
        look = {"markersize": 2.2, "alpha": 0.35, "markeredgewidth": 0}
        axes.plot(*rest.T, "s", color=REST, label="data of the other class", **look)
        axes.plot(*told.T, "o", color=TOLD, label="data of the class told", **look)
        (self._points,) = axes.plot([], [], "o", color=INK, markersize=2.4, label="guided points")
        self._points.set_markeredgewidth(0)
        handles = axes.legend(
            loc="upper left",
            bbox_to_anchor=(-0.02, -0.02),
            frameon=False,
            fontsize=9,
            labelcolor=INK,
            markerscale=3,
        )
        for handle in handles.legend_handles:
            handle.set_alpha(1)
        self.moving(self._points)

    def _draw_curves(self) -> None:
        axes = self.axes_at(7.5, 1.46, 2.0, 2.7)
        style_axes(axes, title="gained and lost", xlabel="guidance scale")
        self._curves = (self._guided.obeyed, self._guided.spread / self._guided.spread.max())
        names = ("obey the class", "spread (largest = 1)")
        self._dots = []
        for values, name, colour, dash in zip(
            self._curves, names, (TOLD, PALETTE["green"]), DASHES, strict=False
        ):
            axes.plot(values, color=colour, linestyle=dash, linewidth=2, label=name)
            self._dots += axes.plot([], [], "o", color=colour, markersize=7, zorder=4)
        labels = [f"{scale:g}" for scale in self._scales]
        axes.set_xticks(range(len(labels)), labels)
        axes.set(ylim=(0, 1.06), xlim=(-0.25, len(labels) - 0.75))
        legend(axes, loc="upper left", bbox_to_anchor=(-0.04, -0.16))
        self._cursor = axes.axvline(0, color=GREY, linewidth=1, zorder=3)
        self.moving(self._cursor, *self._dots)
