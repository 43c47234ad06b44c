"""Draws figures/guidance.png: pictures and points, guided at several scales from the same noise."""

from pathlib import Path

from tlab_diffusion import pipelines
from tlab_diffusion.course.widgets.guidance import (
    PROMPT,
    SCALES,
    guided_pictures,
    guided_points,
    two_classes,
)
from tlab_diffusion.plots import PALETTE, Picture
from tlab_diffusion.plots.guidance_panels import LIMIT
from tlab_diffusion.plots.pictures import show_picture
from tlab_diffusion.plots.style import GREY, INK, new_figure, style_axes

TITLE = f"{PROMPT}: more guidance is clearer, and less varied"
ROWS = 2  # pictures of a scale that are shown


def draw() -> Picture:
    pictures = guided_pictures(pipelines.load("picturebook"), PROMPT)
    figure = new_figure(5.4, title=TITLE)
    panels = figure.subplots(ROWS + 1, len(SCALES))
    for column, scale in enumerate(SCALES):
        for row in range(ROWS):
            label = f"scale {scale}" if row == 0 else ""
            show_picture(panels[row, column], pictures[scale][row], label)
    draw_points(panels[ROWS])
    return Picture(figure, TITLE)


def draw_points(panels) -> None:
    guided = guided_points(SCALES)
    told, rest = (mixture.means for mixture in two_classes())
    rings = ((told, PALETTE["vermilion"], "o"), (rest, PALETTE["blue"], "s"))
    for axes, points, obeyed in zip(panels, guided.points, guided.obeyed, strict=True):
        style_axes(axes, xlabel=f"{obeyed:.0%} obey")
        axes.grid(visible=False)
        axes.plot(*points.T, ".", color=INK, markersize=2.5, alpha=0.6, markeredgewidth=0)
        for means, colour, shape in rings:
            axes.plot(*means.T, shape, color=colour, markersize=7, alpha=0.8)
        axes.set(xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT), aspect="equal", xticks=[], yticks=[])
        axes.spines[:].set(visible=True, color=GREY)


if __name__ == "__main__":
    draw().save(Path(__file__).with_suffix(".png"))
