r"""The live figure of a training: the loss, and what the model draws so far."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tlab_diffusion.plots.live import LiveFigure
from tlab_diffusion.plots.style import GREY, INK, PALETTE, WIDTH, bare_axes, legend, style_axes

LIMIT = 2.6  # points are shown from -LIMIT to LIMIT
LOSSES = (0.003, 2.0)  # the losses shown, on a logarithmic axis
TICKS = (0.01, 0.03, 0.1, 0.3, 1)
GAP = 1  # pixels between the pictures of a mosaic
EMPTY = np.zeros((0, 2))
COLOURS = (PALETTE["blue"], PALETTE["vermilion"])  # of points in the first panel and in others
# Inches.
LEFT, BOTTOM, LINE, BETWEEN = 0.55, 0.5, 0.16, 0.12
LARGEST = 2.7  # side of a panel
LOSS_WIDTH = 2.6  # of the loss axes, at least


class TrainingView(NamedTuple):
    """One moment of a training."""

    losses: np.ndarray  # (S,), one a step
    smooth: np.ndarray  # (S,), their running mean
    panels: Sequence[np.ndarray | None]  # points (N, 2), pictures (N, H, W, 3), or nothing yet


class TrainingPanels(LiveFigure):
    r"""The loss on the left; beside it square panels with points or pictures.

    Args:
        titles: one for each panel; a title may have several lines.
    """

    def __init__(self, titles: Sequence[str]):
        number = max(1, len(titles))
        side = min(LARGEST, (WIDTH - LEFT - LOSS_WIDTH) / number - BETWEEN)
        above = 0.12 + LINE * max((title.count("\n") + 1 for title in titles), default=1)
        super().__init__(WIDTH, BOTTOM + side + above)
        wide = WIDTH - LEFT - len(titles) * (side + BETWEEN) - BETWEEN
        self._draw_loss(self.axes_at(LEFT, BOTTOM, wide, side))
        left = LEFT + wide + BETWEEN
        self._panels = []
        for place, title in enumerate(titles):
            axes = self.axes_at(left + place * (side + BETWEEN), BOTTOM, side, side)
            colour = COLOURS[0] if place == 0 and number > 1 else COLOURS[1]
            self._panels.append(_Panel(axes, title, colour))
            self.moving(*self._panels[-1].artists)

    def set_task(self, steps: int, least: float | None = None) -> None:
        """Set the length of the loss axis, and the exact denoiser's loss where it is known."""
        self._loss_axes.set_xlim(0, steps)
        self._least.set_ydata([least or np.nan] * 2)
        self._least.set_label("the exact denoiser's" if least else "_hidden")
        legend(self._loss_axes, loc="lower left")
        self.still_changed()

    def show(self, view: TrainingView) -> None:
        """Move to another moment."""
        steps = np.arange(1, len(view.losses) + 1)
        self._raw.set_data(steps, view.losses)
        self._smooth.set_data(steps, view.smooth)
        for panel, samples in zip(self._panels, view.panels, strict=True):
            panel.show(samples)

    def _draw_loss(self, axes) -> None:
        style_axes(axes, title="loss", xlabel="step")
        axes.set_yscale("log")
        axes.set_ylim(*LOSSES)
        axes.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
        axes.minorticks_off()
        (self._raw,) = axes.plot([], [], color=GREY, linewidth=0.8, label="of each step")
        look = {"color": PALETTE["blue"], "linewidth": 2.2}
        (self._smooth,) = axes.plot([], [], label="mean of 50 steps", **look)
        dashes = {"linestyle": (0, (5, 1.5)), "linewidth": 1.5}
        (self._least,) = axes.plot([0, 1], [1, 1], color=PALETTE["green"], **dashes)
        self._least.set_transform(axes.get_yaxis_transform())
        self._loss_axes = axes
        self.moving(self._raw, self._smooth)


class _Panel:
    """A square that shows points, or pictures as a mosaic."""

    def __init__(self, axes, title: str, colour: str):
        bare_axes(axes, title=title)
        axes.set(xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT), aspect="equal")
        axes.spines[:].set(visible=True, color=GREY)
        extent = (-LIMIT, LIMIT, -LIMIT, LIMIT)
        blank = np.full((1, 1, 3), 255, np.uint8)
        self._mosaic = axes.imshow(blank, extent=extent, interpolation="nearest")
        (self._points,) = axes.plot([], [], ".", color=colour, markersize=2.5, alpha=0.6)
        self._words = axes.text(0, 0, "", ha="center", va="center", size=10, color=INK)
        self.artists = (self._mosaic, self._points, self._words)

    def show(self, samples: np.ndarray | None) -> None:
        pictures = samples is not None and samples.ndim == 4
        self._mosaic.set_visible(pictures)
        self._points.set_data(*(EMPTY if samples is None or pictures else samples).T)
        self._words.set_text("none yet" if samples is None else "")
        if pictures:
            self._mosaic.set_data(mosaic(samples))


def mosaic(pictures: np.ndarray) -> np.ndarray:
    r"""Pictures (N, H, W, 3) as one square of rows and columns, white where there is none."""
    side = int(np.ceil(len(pictures) ** 0.5))
    height, width = pictures.shape[1] + GAP, pictures.shape[2] + GAP
    whole = np.full((side * height - GAP, side * width - GAP, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = height * (i // side), width * (i % side)
        whole[top : top + height - GAP, left : left + width - GAP] = picture
    return whole
