"""Figures from arrays: the only package that imports matplotlib.

style            colours and axes of all figures, and `Picture`
pictures         `picture_strip`, `picture_grid`
charts           `curves`, `dotted`, `density`, `points`
schedules        `schedule_figure`
latents          `latent_channels`
live             figures that redraw only what changes
dark             the dark face of a live figure
schedule_panels  the live figure of the schedule explorer
denoiser_panels  the live figure of the denoiser explorer
sampler_panels   the live figure of the sampler explorer
training_panels  the live figure of the training view
guidance_panels  the live figure of the guidance explorer
attention_panels `heat_over`, and the live figure of the attention explorer
walk_panels      the live figure of the latent walk
trade_off_panels the live figure of the trade-off explorer
before_after_panels  the live figure of the before/after slider
heat_cells       the cells of a heat map, with a number in each
results_panels   the live figure of the results browser
intervals        `intervals`: means with their intervals
run_figures      `loss_figure`, `trade_off_figure`
grid_figures     `heat_maps`, `picture_page`

Every function but `heat_over` returns a `Picture`: it shows itself as the last expression of a
cell, its title is its alternative text, and `.save("name.png")` writes it.
"""

from tlab_diffusion.plots.attention_panels import heat_over
from tlab_diffusion.plots.charts import curves, density, dotted, points
from tlab_diffusion.plots.grid_figures import heat_maps, picture_page
from tlab_diffusion.plots.intervals import intervals
from tlab_diffusion.plots.latents import latent_channels
from tlab_diffusion.plots.pictures import picture_grid, picture_strip
from tlab_diffusion.plots.run_figures import loss_figure, trade_off_figure
from tlab_diffusion.plots.schedules import schedule_figure
from tlab_diffusion.plots.style import PALETTE, Picture

__all__ = [
    "PALETTE",
    "Picture",
    "curves",
    "density",
    "dotted",
    "heat_maps",
    "heat_over",
    "intervals",
    "latent_channels",
    "loss_figure",
    "picture_grid",
    "picture_page",
    "picture_strip",
    "points",
    "schedule_figure",
    "trade_off_figure",
]
