"""Curves, densities and clouds of points."""

from collections.abc import Mapping
from itertools import cycle

import numpy as np

from tlab_diffusion.errors import InputError
from tlab_diffusion.plots._arrays import as_array, check_length, check_mapping
from tlab_diffusion.plots.style import (
    GREY,
    PALETTE,
    WIDTH,
    Picture,
    legend,
    line_styles,
    new_figure,
    style_axes,
)

HEIGHT = 3.4  # inches
LOG_AXES = ("", "x", "y", "xy")
MARKS = ("o", "s", "^", "D", "v", "P")


def curves(x, ys: Mapping, *, title: str, xlabel: str, ylabel: str, log: str = "") -> Picture:
    r"""Curves over one x axis, each with a colour and a dash of its own.

    Args:
        x: (N,).
        ys: {name: (N,)}.
        title: a phrase, shown above and read aloud.
        xlabel: what x is.
        ylabel: what the curves show.
        log: which axes are logarithmic: "", "x", "y" or "xy".

    Raises:
        InputError: on a curve whose length is not that of x, or another `log`.
    """
    _check_log(log)
    x = as_array("x", x, 1)
    check_mapping("ys", ys)
    figure = new_figure(HEIGHT, title=title)
    axes = figure.subplots()
    for (name, y), (colour, dash) in zip(ys.items(), line_styles(), strict=False):
        y = as_array(name, y, 1)
        check_length(name, len(y), len(x), "x")
        axes.plot(x, y, color=colour, linestyle=dash, linewidth=2, label=name)
    axes.set_xscale("log" if "x" in log else "linear")
    axes.set_yscale("log" if "y" in log else "linear")
    style_axes(axes, xlabel=xlabel, ylabel=ylabel)
    if len(ys) > 1:
        legend(axes, loc="best")
    return Picture(figure, title)


def dotted(series: Mapping, *, title: str, xlabel: str, ylabel: str, log: str = "") -> Picture:
    r"""Series of measured points, each with a colour and a mark of its own, joined by thin lines.

    Args:
        series: {name: (x, y)}, both (N,); N may differ from series to series.
        title: a phrase, shown above and read aloud.
        xlabel: what x is.
        ylabel: what y is.
        log: which axes are logarithmic: "", "x", "y" or "xy".

    Raises:
        InputError: on a series whose x and y differ in length, or another `log`.
    """
    _check_log(log)
    check_mapping("series", series)
    figure = new_figure(HEIGHT, title=title)
    axes = figure.subplots()
    for (name, (x, y)), (colour, _), mark in zip(
        series.items(), line_styles(), cycle(MARKS), strict=False
    ):
        x, y = as_array(name, x, 1), as_array(name, y, 1)
        check_length(name, len(y), len(x), "x")
        axes.plot(x, y, color=colour, linewidth=0.8, marker=mark, markersize=7, label=name)
    axes.set_xscale("log" if "x" in log else "linear")
    axes.set_yscale("log" if "y" in log else "linear")
    style_axes(axes, xlabel=xlabel, ylabel=ylabel)
    legend(axes, loc="best")
    return Picture(figure, title)


def _check_log(log: str) -> None:
    if log not in LOG_AXES:
        raise InputError("log", got=repr(log), expected="one of " + ", ".join(map(repr, LOG_AXES)))


def density(x, densities: Mapping, *, title: str, xlabel: str, samples=None) -> Picture:
    r"""One-dimensional densities as filled curves, over a histogram of samples if there are some.

    Args:
        x: (N,), rising.
        densities: {name: (N,)}, each of area 1.
        title: a phrase, shown above and read aloud.
        xlabel: what x is.
        samples: (M,), drawn as a histogram of area 1.

    Raises:
        InputError: on a density whose length is not that of x, or samples of another shape.
    """
    x = as_array("x", x, 1)
    check_mapping("densities", densities)
    figure = new_figure(HEIGHT, title=title)
    axes = figure.subplots()
    if samples is not None:
        bins = np.linspace(x.min(), x.max(), 81)
        samples = as_array("samples", samples, 1)
        axes.hist(samples, bins, density=True, color=GREY, alpha=0.45, label="samples")
    for (name, y), (colour, dash) in zip(densities.items(), line_styles(), strict=False):
        y = as_array(name, y, 1)
        check_length(name, len(y), len(x), "x")
        axes.fill_between(x, y, color=colour, alpha=0.15, linewidth=0)
        axes.plot(x, y, color=colour, linestyle=dash, linewidth=2, label=name)
    style_axes(axes, xlabel=xlabel, ylabel="density")
    axes.set_xlim(x.min(), x.max())
    axes.set_ylim(bottom=0)
    legend(axes, loc="best")
    return Picture(figure, title)


def points(clouds: Mapping, *, title: str) -> Picture:
    r"""Clouds of two-dimensional points side by side, all on the same axes.

    Args:
        clouds: {label: (N, 2)}; the numbers of points may differ.
        title: a phrase, shown above and read aloud.

    Raises:
        InputError: on points that are not (N, 2).
    """
    check_mapping("clouds", clouds)
    clouds = {label: as_array(label, cloud, 2) for label, cloud in clouds.items()}
    for label, cloud in clouds.items():
        if cloud.shape[1] != 2:
            raise InputError(label, got=f"shape {cloud.shape}", expected="(N, 2)")
    limit = 1.05 * max(np.abs(cloud).max() for cloud in clouds.values())
    side = min(3.2, WIDTH / len(clouds))
    figure = new_figure(side + 0.6, width=max(side * len(clouds), WIDTH / 2), title=title)
    for axes, (label, cloud) in zip(
        figure.subplots(1, len(clouds), squeeze=False).flat, clouds.items(), strict=True
    ):
        axes.scatter(*cloud.T, s=5, color=PALETTE["blue"], alpha=0.5, linewidths=0)
        style_axes(axes, title=label)
        axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
        if axes.get_subplotspec().colspan.start:
            axes.tick_params(labelleft=False)
    return Picture(figure, title)
