r"""The live figure of the latent walk: two rows of pictures, with the current one marked."""

from collections.abc import Mapping

import numpy as np
from matplotlib.patches import Rectangle

from tlab_diffusion.plots.live import LiveFigure
from tlab_diffusion.plots.pictures import show_picture
from tlab_diffusion.plots.style import INK, PALETTE, WIDTH, style_axes

HEIGHT = 4.5  # inches
ARC, LINE, HERE = PALETTE["blue"], PALETTE["vermilion"], PALETTE["vermilion"]
# In inches: where rows begin, how wide they are, the gap in them, and the large picture.
LEFT, ROW, GAP, TOP, CURRENT = 0.1, 6.1, 0.06, 4.2, 3.0
HEADER, CURVES = 0.34, 1.0


class WalkPanels(LiveFigure):
    """One row of pictures for each walk, the length of the noise below, one picture large.

    Args:
        walks: {name: (N, H, W, 3) uint8}, all of one length N.
        weights: (N,), from 0 to 1.
        on_the_arc: (M,), length of the noise along the arc, at M weights evenly spaced.
        on_the_line: (M,), and along the straight line.
    """

    def __init__(
        self,
        walks: Mapping[str, np.ndarray],
        weights: np.ndarray,
        on_the_arc: np.ndarray,
        on_the_line: np.ndarray,
    ):
        super().__init__(WIDTH, HEIGHT)
        self._walks, self._weights = walks, weights
        side = (ROW + GAP) / len(weights) - GAP
        self._frames = {}
        for row, (name, pictures) in enumerate(walks.items()):
            top = TOP - row * (side + HEADER)
            panels = [
                self.axes_at(LEFT + i * (side + GAP), top - side, side, side)
                for i in range(len(weights))
            ]
            for panel, picture in zip(panels, pictures, strict=True):
                show_picture(panel, picture)
            title = {"size": 10.5, "weight": "bold", "color": INK}
            panels[0].set_title(name, loc="left", **title)
            self._frames[name] = [_frame(panel) for panel in panels]
        self._draw_length(on_the_arc, on_the_line)
        current = self.axes_at(WIDTH - CURRENT - 0.1, TOP - CURRENT, CURRENT, CURRENT)
        self._current = show_picture(current, next(iter(walks.values()))[0])
        self._where = current.text(0.5, -0.03, "", transform=current.transAxes)
        self._where.set(size=11, weight="bold", color=INK, ha="center", va="top")
        frames = [frame for row in self._frames.values() for frame in row]
        self.moving(self._current, self._where, self._dot, *frames)

    def show(self, name: str, position: int, on_the_arc: float | None) -> None:
        """Show one picture of one walk as the current one; no dot without a norm of the noise."""
        for walk, row in self._frames.items():
            for number, frame in enumerate(row):
                frame.set_visible(walk == name and number == position)
        self._current.set_data(self._walks[name][position])
        self._where.set_text(f"weight {self._weights[position]:.2f}")
        self._dot.set_visible(on_the_arc is not None)
        if on_the_arc is not None:
            self._dot.set_data([self._weights[position]], [on_the_arc])

    def _draw_length(self, on_the_arc: np.ndarray, on_the_line: np.ndarray) -> None:
        axes = self.axes_at(LEFT + 0.45, 0.45, ROW - 0.5, CURVES)
        title = "length of the noise between two, 1 being usual"
        style_axes(axes, title=title, xlabel="weight of the second noise")
        weight = np.linspace(0, 1, len(on_the_arc))
        axes.plot(weight, on_the_arc, color=ARC, linewidth=2, label="on the arc")
        dashes = {"linestyle": (0, (5, 1.5)), "linewidth": 2}
        axes.plot(weight, on_the_line, color=LINE, label="on a straight line", **dashes)
        axes.set(xlim=(-0.02, 1.02), ylim=(0.5, 1.15))
        axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="lower center", ncols=2)
        (self._dot,) = axes.plot([0], [1], "o", color=INK, markersize=8)


def _frame(axes) -> Rectangle:
    """A frame around a panel, hidden until its picture is the current one."""
    frame = Rectangle((0, 0), 1, 1, transform=axes.transAxes, fill=False, visible=False)
    frame.set(edgecolor=HERE, linewidth=5)
    return axes.add_patch(frame)
