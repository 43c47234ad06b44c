"""Arrays in, figures out: the only place of the package that knows matplotlib.

style            the house style: palette, axes, `Picture`
pictures         `picture_strip`, `picture_grid`
charts           `curves`, `density`, `points`
schedules        `schedule_figure`
live             figures redrawn many times a second: only what moves
png              their fast encoder
schedule_panels  the live figure of the schedule explorer
denoiser_panels  the live figure of the denoiser explorer

Every function returns a `Picture`: it shows itself as the last expression of a cell, its title is
its alternative text, and `.save("name.png")` writes it.
"""

from tlab_diffusion.plots.charts import curves, density, points
from tlab_diffusion.plots.pictures import picture_grid, picture_strip
from tlab_diffusion.plots.schedules import schedule_figure
from tlab_diffusion.plots.style import PALETTE, Picture

__all__ = [
    "PALETTE",
    "Picture",
    "curves",
    "density",
    "picture_grid",
    "picture_strip",
    "points",
    "schedule_figure",
]
