"""Arrays in, figures out: the only place of the package that knows matplotlib.

style            the house style: palette, axes, `Picture`
pictures         `picture_strip`, `picture_grid`
charts           `curves`, `density`, `points`
schedules        `schedule_figure`
latents          `latent_channels`
live             figures redrawn many times a second: only what moves
png              their fast encoder
schedule_panels  the live figure of the schedule explorer
denoiser_panels  the live figure of the denoiser explorer
sampler_panels   the live figure of the sampler explorer
training_panels  the live figure of the training view
guidance_panels  the live figure of the guidance explorer
attention_panels `heat_over`, and the live figure of the attention explorer
walk_panels      the live figure of the latent walk

Every function returns a `Picture`: it shows itself as the last expression of a cell, its title is
its alternative text, and `.save("name.png")` writes it.
"""

from tlab_diffusion.plots.attention_panels import heat_over
from tlab_diffusion.plots.charts import curves, density, points
from tlab_diffusion.plots.latents import latent_channels
from tlab_diffusion.plots.pictures import picture_grid, picture_strip
from tlab_diffusion.plots.schedules import schedule_figure
from tlab_diffusion.plots.style import PALETTE, Picture

__all__ = [
    "PALETTE",
    "Picture",
    "curves",
    "density",
    "heat_over",
    "latent_channels",
    "picture_grid",
    "picture_strip",
    "points",
    "schedule_figure",
]
