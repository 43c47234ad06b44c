"""Draws figures/training.png: two trainings of lesson 03, of points and of small pictures."""

from pathlib import Path

import numpy as np

from tlab_diffusion.course.live_view import running_mean
from tlab_diffusion.course.widgets.training import TASKS, as_shown, frames
from tlab_diffusion.plots import Picture
from tlab_diffusion.plots.style import GREY, INK, PALETTE, bare_axes, new_figure, style_axes
from tlab_diffusion.plots.training_panels import LIMIT, mosaic

TITLE = "Two trainings: the loss, samples at three moments, and the data"
LEARNING_RATE, EMA_DECAY = 3e-3, 0.99
MOMENTS = {"smile": (40, 100, 500), "cats": (60, 150, 500)}  # steps


def draw() -> Picture:
    figure = new_figure(4.6, title=TITLE)
    grid = figure.subplots(2, 5, width_ratios=(1.3, 1, 1, 1, 1))
    for row, (data, moments) in zip(grid, MOMENTS.items(), strict=True):
        _draw_training(row, TASKS[data](), moments)
    return Picture(figure, TITLE)


def _draw_training(row, task, moments: tuple[int, ...]) -> None:
    for frame in frames(task, moments[-1], LEARNING_RATE, EMA_DECAY):
        if len(frame.losses) in moments:
            axes = row[1 + moments.index(len(frame.losses))]
            _show(axes, as_shown(frame.samples), PALETTE["vermilion"])
            axes.set_title(f"step {len(frame.losses)}", loc="left", size=10, color=INK)
    _show(row[4], as_shown(task.data[: task.shown]), PALETTE["blue"])
    row[4].set_title("the data", loc="left", size=10, color=INK)
    style_axes(row[0], title="loss", xlabel="step")
    row[0].plot(frame.losses, color=GREY, linewidth=0.8)
    row[0].plot(running_mean(frame.losses), color=PALETTE["blue"], linewidth=2)
    if task.least:
        row[0].axhline(task.least, color=PALETTE["green"], linestyle=(0, (5, 1.5)))
    row[0].set_yscale("log")
    ticks = (0.03, 0.1, 0.3, 1)
    row[0].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    row[0].minorticks_off()


def _show(axes, samples: np.ndarray, colour: str) -> None:
    bare_axes(axes)
    extent = (-LIMIT, LIMIT, -LIMIT, LIMIT)
    axes.set(xlim=extent[:2], ylim=extent[2:], aspect="equal")
    if samples.ndim == 2:
        axes.plot(*samples.T, ".", color=colour, markersize=2, alpha=0.6)
    else:
        axes.imshow(mosaic(samples), extent=extent, interpolation="nearest")


if __name__ == "__main__":
    draw().save(Path(__file__).with_suffix(".png"))
