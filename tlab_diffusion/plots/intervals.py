"""Means with their intervals, one a row."""

from collections.abc import Mapping

from tlab_diffusion.plots._arrays import check_mapping
from tlab_diffusion.plots.style import GREY, PALETTE, Picture, new_figure, style_axes

ROW = 0.5  # inches; a label may have two lines


def intervals(rows: Mapping, *, title: str, xlabel: str) -> Picture:
    r"""A dot and a bar for each row; those whose bar leaves out 0 are filled.

    Args:
        rows: {name: (mean, low, high)}, from top to bottom; low and high may be None.
        title: a phrase, shown above and read aloud.
        xlabel: what the numbers are.
    """
    check_mapping("rows", rows)
    figure = new_figure(1.1 + ROW * len(rows), title=title)
    axes = figure.subplots()
    axes.axvline(0, color=GREY, linewidth=1)
    colour, *_ = PALETTE.values()
    for place, (mean, low, high) in enumerate(rows.values()):
        clear = low is not None and not low <= 0 <= high
        if low is not None:
            axes.plot([low, high], [place, place], color=colour, linewidth=2)
        fill = colour if clear else "white"
        axes.plot(mean, place, marker="o", markersize=8, color=colour, markerfacecolor=fill)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    style_axes(axes, xlabel=xlabel)
    return Picture(figure, title)
