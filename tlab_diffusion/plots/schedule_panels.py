r"""The live figure of the schedule explorer: curves above, a picture with growing noise below."""

from collections.abc import Sequence

import numpy as np

from tlab_diffusion.plots.live import LiveFigure
from tlab_diffusion.plots.schedules import frame_panels, schedule_curves
from tlab_diffusion.plots.style import DASHES, INK, PALETTE, WIDTH, bare_axes

HEIGHT = 6.1  # inches
STRIP_LENGTH = 7
COLOURS = (PALETTE["blue"], PALETTE["vermilion"])
BLANK = np.full((1, 1, 3), 255, np.uint8)
# In inches: a picture of a strip, the gap between two, the line above them, the current picture.
SIDE, GAP, HEADER, CURRENT = 1.0, 0.09, 0.2, 1.4
LEFT, ROW_TOPS = 0.42, (2.96, 1.48)


class SchedulePanels(LiveFigure):
    """Two schedules: three panels of curves, and for each a strip and the current picture."""

    def __init__(self):
        super().__init__(WIDTH, HEIGHT)
        self._panels = [self.axes_at(0.5 + 3.14 * i, 3.72, 2.62, 2.05) for i in range(3)]
        self._lines = [
            [
                axes.plot([], [], color=colour, linestyle=dash, linewidth=2)[0]
                for axes in self._panels
            ]
            for colour, dash in zip(COLOURS, DASHES, strict=False)
        ]
        self._cursors = [axes.axvline(0, color=INK, linewidth=1) for axes in self._panels]
        self._dots = [
            [axes.plot([], [], "o", color=colour, markersize=7)[0] for axes in self._panels]
            for colour in COLOURS
        ]
        self._draw_strips()
        self.moving(*self._cursors, *self._dots[0], *self._dots[1], *self._current, self._time)

    def set_schedules(self, names: Sequence[str], schedules: Sequence[np.ndarray]) -> None:
        """Two names, and two schedules by their betas (T,)."""
        self.curves = [schedule_curves(betas) for betas in schedules]
        for lines, curves in zip(self._lines, self.curves, strict=True):
            for line, values in zip(lines, curves, strict=True):
                line.set_data(np.arange(1, len(values) + 1), values)
        frame_panels(self._panels, self.curves)
        for label, name in zip(self._names, names, strict=True):
            label.set_text(name)
        self.still_changed()

    def set_strips(self, timesteps: Sequence[int], strips: Sequence[np.ndarray]) -> None:
        """Two strips, each (7, H, W, 3) uint8, and the timesteps of their columns."""
        for images, pictures in zip(self._strips, strips, strict=True):
            for image, picture in zip(images, pictures, strict=True):
                _set_pixels(image, picture)
            for image, t in zip(images, timesteps, strict=True):
                image.axes.set_xlabel(f"t = {t}", size=9, color=INK, labelpad=3)
        self.still_changed()

    def set_timestep(self, t: int, pictures: Sequence[np.ndarray]) -> None:
        """Move to t, from 0 to T, where the schedules give these (H, W, 3) uint8 pictures."""
        for cursor in self._cursors:
            cursor.set_xdata([t, t])
        for dots, curves in zip(self._dots, self.curves, strict=True):
            for dot, values in zip(dots, curves, strict=True):
                dot.set_data(*(([t], [values[t - 1]]) if t else ([], [])))  # no curve has a 0
        for image, picture in zip(self._current, pictures, strict=True):
            _set_pixels(image, picture)
        self._time.set_text(f"t = {t}")

    def _draw_strips(self) -> None:
        self._strips, self._current, self._names = [], [], []
        for top, colour in zip(ROW_TOPS, COLOURS, strict=True):
            lefts = [LEFT + i * (SIDE + GAP) for i in range(STRIP_LENGTH)]
            strip = [self.axes_at(left, top - SIDE - HEADER, SIDE, SIDE) for left in lefts]
            current = self.axes_at(WIDTH - CURRENT - 0.08, top - CURRENT, CURRENT, CURRENT)
            for axes in [*strip, current]:
                bare_axes(axes)
            current.spines[:].set(visible=True, color=colour, linewidth=2.5)
            self._strips.append([axes.imshow(BLANK, interpolation="nearest") for axes in strip])
            self._current.append(current.imshow(BLANK, interpolation="nearest"))
            name = strip[0].text(0, 1.07, "", transform=strip[0].transAxes, color=colour)
            name.set(size=11, weight="bold")
            self._names.append(name)
        # Text of axes, not of the figure: a still figure leaves out its own moving artists.
        axes = self._current[0].axes
        self._time = axes.text(0.5, 1.05, "", transform=axes.transAxes, ha="center")
        self._time.set(size=11, weight="bold", color=INK)


def _set_pixels(image, picture: np.ndarray) -> None:
    image.set_data(picture)
    # A picture of another size than the one before would keep the old one's coordinates.
    height, width = picture.shape[:2]
    image.set_extent((-0.5, width - 0.5, height - 0.5, -0.5))
