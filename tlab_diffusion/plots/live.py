"""Figures redrawn many times a second: only what changes is drawn again.

A full draw of a figure takes most of a tenth of a second, and nearly all of it goes into axes and
words that stay as they are. So the still parts are drawn once and kept as pixels; each tick puts
them back and draws the moving artists on top (blitting).
"""

from io import BytesIO

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from tlab_diffusion.plots.dark import dark_pixels, picture_places
from tlab_diffusion.plots.style import SCREEN_DPI

ABOVE = 10  # what lifts moving artists above still ones: matplotlib's own orders end at 5


class LiveFigure:
    """A figure with still and moving artists.

    A subclass draws its axes, hands what moves to `moving`, and calls `still_changed` whenever it
    touches anything else. Moving artists lie above the still ones.

    Args:
        width, height: inches.
    """

    def __init__(self, width: float, height: float):
        self.figure = Figure(figsize=(width, height), dpi=SCREEN_DPI, facecolor="white")
        self._canvas = FigureCanvasAgg(self.figure)
        self._moving: list[Artist] = []
        self._background = None

    def axes_at(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """New axes at a place in inches."""
        x, y = self.figure.get_size_inches()
        return self.figure.add_axes((left / x, bottom / y, width / x, height / y))

    def moving(self, *artists: Artist) -> None:
        """Declare artists that change from tick to tick."""
        # A frame is drawn above what it frames, or a tick would paint over it.
        frames = [spine for a in artists if a.axes for spine in a.axes.spines.values()]
        for artist in (*artists, *frames):
            if artist not in self._moving:
                artist.set_animated(True)
                artist.set_zorder(artist.zorder + ABOVE)  # in a full drawing too
                self._moving.append(artist)
        self._moving.sort(key=lambda artist: artist.zorder)

    def still_changed(self) -> None:
        """Draw the still parts again next time."""
        self._background = None

    def pngs(self) -> tuple[bytes, bytes]:
        """The figure now, as two PNG files, for a light and for a dark page: fast."""
        pixels = self._pixels()
        return _encode(pixels), _encode(dark_pixels(pixels, picture_places(self.figure)))

    def png(self) -> bytes:
        """The figure now, as a PNG file for a light page: fast."""
        return _encode(self._pixels())

    def _pixels(self) -> np.ndarray:
        if self._background is None:
            self._canvas.draw()  # leaves moving artists out
            self._background = self._canvas.copy_from_bbox(self.figure.bbox)
        self._canvas.restore_region(self._background)
        renderer = self._canvas.get_renderer()
        for artist in self._moving:
            artist.draw(renderer)
        return np.asarray(self._canvas.buffer_rgba())[:, :, :3]


def _encode(pixels: np.ndarray) -> bytes:
    file = BytesIO()
    # The default level makes a file a tenth smaller and takes four times as long.
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
