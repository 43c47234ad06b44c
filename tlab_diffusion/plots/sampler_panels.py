r"""The live figure of the sampler explorer: samples of points and of pictures, step by step."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from tlab_diffusion.plots.live import LiveFigure
from tlab_diffusion.plots.style import GREY, INK, PALETTE, WIDTH, bare_axes, style_axes

HEIGHT = 5.3  # inches
LIMIT = 2.9  # the points shown reach from -LIMIT to LIMIT
ROWS = ("now: $x_t$", r"the model's guess: $\hat x_0$", "the nearest true picture to the end")
TRUTH, POINT, PATH = GREY, PALETTE["blue"], PALETTE["vermilion"]
# In inches: a row of pictures, the line above it, where the first one ends at the top.
SIDE, HEADER, RIGHT_TOP = 1.15, 0.27, 4.98
GAP = 4  # pixels between two pictures of a row


class SamplerRun(NamedTuple):
    """A whole run of a sampler, n steps long, on points and on pictures."""

    timesteps: list[int]  # (n + 1,): where the sample stands, from T; 0 is the clean end
    points: np.ndarray  # (n + 1, N, 2)
    pictures: np.ndarray  # (n + 1, P, H, W, 3) uint8, x_t
    guesses: np.ndarray  # (n + 1, P, H, W, 3) uint8, the model's x0; at the end the sample itself
    nearest: np.ndarray  # (P, H, W, 3) uint8, the true pictures that the samples are nearest to


class SamplerPanels(LiveFigure):
    """Points over the truth, three rows of pictures, and a ruler of the timesteps visited.

    Args:
        truth: (M, 2), true points.
        num_paths: of how many points the way is drawn.
        num_train_timesteps: T.
    """

    def __init__(self, truth: np.ndarray, num_paths: int, num_train_timesteps: int):
        super().__init__(WIDTH, HEIGHT)
        self._num_paths = num_paths
        self._draw_points(truth)
        self._draw_rows()
        self._draw_ruler(num_train_timesteps)

    def set_run(self, run: SamplerRun) -> None:
        """Show another run; `set_step` chooses the step."""
        self._run = run
        paths = run.points[:, : self._num_paths].transpose(1, 0, 2)
        self._ways.set_segments(list(paths))
        self._visited.set_xdata(run.timesteps[:-1])
        self._visited.set_ydata(np.zeros(len(run.timesteps) - 1))
        _set_row(self._rows[2], run.nearest)
        self.still_changed()

    def set_step(self, step: int) -> None:
        """Move to the sample after this many steps."""
        run = self._run
        self._points.set_offsets(run.points[step])
        paths = run.points[: step + 1, : self._num_paths].transpose(1, 0, 2)
        self._walked.set_segments(list(paths))
        self._heads.set_data(*run.points[step, : self._num_paths].T)
        _set_row(self._rows[0], run.pictures[step])
        _set_row(self._rows[1], run.guesses[step])
        self._here.set_xdata([run.timesteps[step]])

    def _draw_points(self, truth: np.ndarray) -> None:
        axes = self.axes_at(0.35, 0.72, 4.3, 4.3)
        frame_points(axes, "points: grey is the truth")
        draw_truth(axes, truth)
        ahead = LineCollection([], colors=PATH, linewidths=0.7, alpha=0.45)
        self._ways = axes.add_collection(ahead)
        self._points = axes.scatter([], [], s=9, color=POINT, alpha=0.65, linewidths=0)
        self._walked = axes.add_collection(LineCollection([], colors=PATH, linewidths=1.0))
        (self._heads,) = axes.plot([], [], "o", color=PATH, markersize=4.5)
        self.moving(self._points, self._walked, self._heads)

    def _draw_rows(self) -> None:
        blank = np.full((1, 4, 3), 255, np.uint8)
        self._rows = []
        for row, title in enumerate(ROWS):
            bottom = RIGHT_TOP - (row + 1) * SIDE - row * HEADER
            axes = self.axes_at(4.87, bottom, 4.6, SIDE)
            bare_axes(axes)
            axes.set_title(title, loc="left", size=10, color=INK, pad=4)
            self._rows.append(axes.imshow(blank, interpolation="nearest", aspect="auto"))
        self.moving(*self._rows[:2])

    def _draw_ruler(self, num_train_timesteps: int) -> None:
        axes = self.axes_at(4.87, 0.72, 4.6, 0.16)
        style_axes(axes, xlabel="timestep $t$: ticks are visited, the diamond is here")
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False)
        margin = 0.02 * num_train_timesteps
        axes.set(xlim=(num_train_timesteps + margin, -margin), ylim=(-1, 1), yticks=[])
        (self._visited,) = axes.plot([], [], "|", color=INK, markersize=9)
        (self._here,) = axes.plot([0], [0], "D", color=PATH, markersize=7, clip_on=False)
        self.moving(self._here)


def frame_points(axes: Axes, title: str = "", limit: float = LIMIT) -> None:
    """A square from -limit to limit for points."""
    style_axes(axes, title=title)
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")


def draw_truth(axes: Axes, truth: np.ndarray) -> None:
    """True points (M, 2), as a grey ground for others."""
    axes.scatter(*truth.T, s=7, color=TRUTH, alpha=0.22, linewidths=0)


def _set_row(image, pictures: Sequence[np.ndarray]) -> None:
    """Show pictures side by side as one image, which is drawn faster than several."""
    height, width = pictures[0].shape[:2]
    columns = len(pictures)
    row = np.full((height, columns * (width + GAP) - GAP, 3), 255, np.uint8)
    for column, picture in enumerate(pictures):
        row[:, column * (width + GAP) : column * (width + GAP) + width] = picture
    image.set_data(row)
    image.set_extent((-0.5, row.shape[1] - 0.5, height - 0.5, -0.5))
