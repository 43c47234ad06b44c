r"""The live figure of the training view: the loss, the data, and what the model draws so far."""

from typing import NamedTuple

import numpy as np

from tlab_diffusion.plots.live import LiveFigure
from tlab_diffusion.plots.style import GREY, INK, PALETTE, WIDTH, bare_axes, legend, style_axes

HEIGHT = 3.9  # inches
LIMIT = 2.6  # points are shown from -LIMIT to LIMIT
LOSSES = (0.01, 2.0)  # the losses shown, on a logarithmic axis
GAP = 1  # pixels between the pictures of a mosaic
EMPTY = np.zeros((0, 2))


class TrainingTask(NamedTuple):
    """What stays still while a model trains."""

    steps: int  # the length of the loss axis
    data: np.ndarray  # points (N, 2), or pictures (N, H, W, 3) uint8
    least: float | None  # the loss of the exact denoiser, where it is known


class TrainingView(NamedTuple):
    """What moves: one moment of a training."""

    losses: np.ndarray  # (S,), one a step
    smooth: np.ndarray  # (S,), their running mean
    samples: np.ndarray | None  # shaped like the data, or nothing yet


class TrainingPanels(LiveFigure):
    """Loss, data and samples, side by side."""

    def __init__(self):
        super().__init__(WIDTH, HEIGHT)
        place = {"left": 0.07, "right": 0.99, "top": 0.91, "bottom": 0.14, "wspace": 0.08}
        loss, data, samples = self.figure.subplots(
            1, 3, width_ratios=(1.55, 1, 1), gridspec_kw=place
        )
        self._draw_loss(loss)
        self._data = _Panel(data, "the data", PALETTE["blue"])
        self._samples = _Panel(samples, "samples of the averaged model", PALETTE["vermilion"])
        self.moving(*self._samples.artists)

    def set_task(self, task: TrainingTask) -> None:
        """Show other data, or a longer axis."""
        self._loss_axes.set_xlim(0, task.steps)
        self._least.set_ydata([task.least or np.nan] * 2)
        self._least.set_label("the exact denoiser's" if task.least else "_hidden")
        legend(self._loss_axes, loc="upper right")
        self._data.show(task.data)
        self.still_changed()

    def show(self, view: TrainingView) -> None:
        """Move to another moment."""
        steps = np.arange(1, len(view.losses) + 1)
        self._raw.set_data(steps, view.losses)
        self._smooth.set_data(steps, view.smooth)
        self._samples.show(view.samples)

    def _draw_loss(self, axes) -> None:
        style_axes(axes, title="loss", xlabel="step")
        axes.set_yscale("log")
        axes.set_ylim(*LOSSES)
        axes.set_yticks([0.01, 0.03, 0.1, 0.3, 1], ["0.01", "0.03", "0.1", "0.3", "1"])
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
