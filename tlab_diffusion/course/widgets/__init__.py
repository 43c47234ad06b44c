"""The widgets of the lessons: the only package that imports ipywidgets.

Each function returns a `LivePicture`, which is interactive in JupyterLab and a still picture
elsewhere. `.picture(setting=value)` returns the still picture at given settings.
"""

from tlab_diffusion.course.widgets.attention import attention_explorer
from tlab_diffusion.course.widgets.before_after import before_after
from tlab_diffusion.course.widgets.denoiser import denoiser_explorer
from tlab_diffusion.course.widgets.guidance import guidance_explorer
from tlab_diffusion.course.widgets.results import results_browser
from tlab_diffusion.course.widgets.sampling import sampler_explorer
from tlab_diffusion.course.widgets.schedules import schedule_explorer
from tlab_diffusion.course.widgets.trade_off import trade_off_explorer
from tlab_diffusion.course.widgets.training import training_view
from tlab_diffusion.course.widgets.walk import latent_walk

__all__ = [
    "attention_explorer",
    "before_after",
    "denoiser_explorer",
    "guidance_explorer",
    "latent_walk",
    "results_browser",
    "sampler_explorer",
    "schedule_explorer",
    "trade_off_explorer",
    "training_view",
]
