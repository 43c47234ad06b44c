"""The course's widgets: the only place that knows ipywidgets.

Each is a function that returns a `LivePicture`: live in JupyterLab, a still picture elsewhere;
`.picture(setting=value)` is the still picture at given settings.
"""

from tlab_diffusion.course.widgets.denoiser import denoiser_explorer
from tlab_diffusion.course.widgets.schedules import schedule_explorer

__all__ = ["denoiser_explorer", "schedule_explorer"]
