"""Draws figures/samplers.png: four samplers, three numbers of steps, and the truth behind them."""

from pathlib import Path

import torch

from tlab_diffusion.course.widgets.sampling import ALPHAS_CUMPROD, SAMPLERS, sampler_steps, smile
from tlab_diffusion.plots import Picture
from tlab_diffusion.plots.sampler_panels import PATH, POINT, draw_truth, frame_points
from tlab_diffusion.plots.style import INK, new_figure

TITLE = "From noise to a face: four samplers in 5, 10 and 50 steps, with the exact model"
STEPS = (5, 10, 50)
NUM_POINTS, LIMIT = 600, 2.6
FOLLOWED = [0, 1, 2, 540]  # points by their distance from the middle at the start


def draw() -> Picture:
    figure = new_figure(8.0, title=TITLE)
    face = smile()
    truth = face.sample(2500, torch.Generator().manual_seed(0)).numpy()
    model = face.denoiser(ALPHAS_CUMPROD)
    x_T = torch.randn(NUM_POINTS, 2, generator=torch.Generator().manual_seed(1))
    followed = x_T.norm(dim=1).argsort()[FOLLOWED]
    grid = figure.subplots(len(STEPS), len(SAMPLERS), sharex=True, sharey=True)
    for row, num_steps in zip(grid, STEPS, strict=True):
        for axes, sampler in zip(row, SAMPLERS, strict=True):
            generator = torch.Generator().manual_seed(2)
            steps = sampler_steps(sampler, model, x_T, num_steps, generator=generator)
            way = torch.stack([x_T, *(step.x for step in steps)]).numpy()
            frame_points(axes, limit=LIMIT)
            draw_truth(axes, truth)
            axes.plot(*way[:, followed].transpose(2, 0, 1), color=PATH, linewidth=0.7, alpha=0.8)
            axes.scatter(*way[-1].T, s=5, color=POINT, alpha=0.7, linewidths=0, zorder=3)
    for axes, sampler in zip(grid[0], SAMPLERS, strict=True):
        axes.set_title(sampler, loc="left", size=10.5, color=INK)
    for axes, num_steps in zip(grid[:, 0], STEPS, strict=True):
        axes.set_ylabel(f"{num_steps} steps", size=11, color=INK)
    return Picture(figure, TITLE)


if __name__ == "__main__":
    draw().save(Path(__file__).with_suffix(".png"))
