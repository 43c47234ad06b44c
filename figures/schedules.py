"""Draws figures/schedules.png: five noise schedules, as curves and on one and the same picture."""

from pathlib import Path

import torch
from matplotlib.figure import SubFigure

from tlab_diffusion.course.widgets.schedules import noised_pictures, schedule_betas
from tlab_diffusion.picturebook import render, subject_scenes
from tlab_diffusion.plots import Picture
from tlab_diffusion.plots.pictures import show_picture
from tlab_diffusion.plots.schedules import draw_schedules
from tlab_diffusion.plots.style import INK, line_styles, new_figure

TITLE = "Five noise schedules: curves, and the same picture at the same timesteps"
TIMESTEPS = [0, 100, 200, 300, 400, 500, 650, 800, 1000]
SCHEDULES = {
    "linear": schedule_betas("linear"),
    "scaled linear": schedule_betas("scaled linear"),
    "cosine": schedule_betas("cosine"),
    "sigmoid": schedule_betas("sigmoid"),
    "scaled linear,\nzero\nterminal SNR": schedule_betas("scaled linear", zero_terminal_snr=True),
}


def draw() -> Picture:
    figure = new_figure(7.6)
    above, below = figure.subfigures(2, 1, height_ratios=(2.6, 5.0))
    draw_schedules(above.subplots(1, 3), {name: betas.numpy() for name, betas in SCHEDULES.items()})
    draw_strips(below)
    return Picture(figure, TITLE)


def draw_strips(figure: SubFigure) -> None:
    """One row a schedule, one column a timestep, and beside its name the line of its curves."""
    picture = render(subject_scenes("pip")[0])
    noise = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(0))
    grid = figure.subplots(len(SCHEDULES), len(TIMESTEPS))
    rows = zip(grid, SCHEDULES.items(), line_styles(), strict=False)
    for row, (name, betas), (colour, dash) in rows:
        pictures = noised_pictures(picture, noise, TIMESTEPS, betas)
        for axes, noised in zip(row, pictures, strict=True):
            show_picture(axes, noised)
        place = {"transform": row[0].transAxes, "clip_on": False}
        row[0].plot([-0.62, -0.1], [0.36, 0.36], color=colour, linestyle=dash, lw=2.5, **place)
        row[0].text(-0.1, 0.5, name, ha="right", size=9.5, color=INK, **place)
    for axes, t in zip(grid[0], TIMESTEPS, strict=True):
        axes.set_title(f"t = {t}", size=9.5, color=INK)


if __name__ == "__main__":
    draw().save(Path(__file__).with_suffix(".png"))
