r"""Noise schedules: what each step adds, what is left, and how signal compares with noise."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from tlab_diffusion.errors import InputError
from tlab_diffusion.plots._arrays import as_array, check_mapping
from tlab_diffusion.plots.style import Picture, legend, line_styles, new_figure, style_axes

LOWEST_SNR = -6  # log10; the curve of a zero terminal SNR leaves the panel here
PANELS = (
    r"$\beta_t$: noise variance added by step $t$",
    r"$\bar\alpha_t$: share of the picture's variance left",
    r"$\log_{10}\,$SNR: signal against noise",
)


class ScheduleCurves(NamedTuple):
    """What the three panels show, each (T,)."""

    betas: np.ndarray
    alphas_cumprod: np.ndarray
    log10_snr: np.ndarray  # finite: an SNR of 0 becomes a value far below the panel


def schedule_curves(betas) -> ScheduleCurves:
    r"""The curves of a schedule, from its betas (T,)."""
    betas = as_array("betas", betas, 1)
    if not ((betas > 0) & (betas <= 1)).all():
        raise InputError(
            "betas", got=f"values from {betas.min():g} to {betas.max():g}", expected="0 < beta <= 1"
        )
    alphas_cumprod = np.cumprod(1 - betas)
    snr = alphas_cumprod / (1 - alphas_cumprod)
    return ScheduleCurves(betas, alphas_cumprod, np.log10(np.maximum(snr, 1e-12)))


def schedule_figure(schedules: Mapping, *, title: str) -> Picture:
    r"""Schedules compared: betas, alpha_bar and log10 SNR side by side.

    Args:
        schedules: {name: betas (T,)}; the lengths may differ.
        title: a phrase, shown above and read aloud.

    Raises:
        InputError: on betas that are no schedule.
    """
    figure = new_figure(3.3, title=title)
    panels = figure.subplots(1, 3)
    draw_schedules(panels, schedules)
    legend(panels[0], loc="upper left")
    return Picture(figure, title)


def draw_schedules(panels: Sequence[Axes], schedules: Mapping) -> None:
    """Draw schedules {name: betas (T,)} into three axes."""
    check_mapping("schedules", schedules)
    all_curves = [schedule_curves(betas) for betas in schedules.values()]
    for name, curves, (colour, dash) in zip(schedules, all_curves, line_styles(), strict=False):
        for axes, values in zip(panels, curves, strict=True):
            axes.plot(
                np.arange(1, len(values) + 1),
                values,
                color=colour,
                linestyle=dash,
                linewidth=2,
                label=name,
            )
    frame_panels(panels, all_curves)


def frame_panels(panels: Sequence[Axes], all_curves: Sequence[ScheduleCurves]) -> None:
    """Title the three panels and give them limits that suit their curves."""
    for axes, title in zip(panels, PANELS, strict=True):
        style_axes(axes, title=title, xlabel="timestep $t$")
        last = max(len(curves.betas) for curves in all_curves)
        axes.set_xlim(-0.01 * last, 1.01 * last)
    # The last betas of a cosine schedule are near 1; scaled to them the rest would be flat.
    top = max(np.quantile(curves.betas, 0.95) for curves in all_curves)
    panels[0].set_ylim(0, 1.2 * top)
    panels[1].set_ylim(-0.02, 1.02)
    panels[2].set_ylim(LOWEST_SNR, 4.5)
