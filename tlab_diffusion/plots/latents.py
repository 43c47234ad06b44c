"""Latents beside the pictures that they stand for."""

from tlab_diffusion.errors import InputError
from tlab_diffusion.plots._arrays import as_array, as_pictures, check_length
from tlab_diffusion.plots.pictures import GAP, LINE_HEIGHT, TITLE_HEIGHT, show_picture
from tlab_diffusion.plots.style import INK, WIDTH, Picture, bare_axes, new_figure

LIMIT = 3.0  # values beyond are shown as this; nearly all of a standard normal lie within
SIDE = 1.7  # inches
COLOURS = "PuOr"  # orange is negative, purple positive, white 0; safe for colour-blind readers


def latent_channels(pictures, latents, *, title: str) -> Picture:
    r"""Each picture in a row, its latent channels to the right, one colour scale for all.

    Args:
        pictures: (N, H, W, 3) uint8, or (N, 3, H, W) floats in [-1, 1].
        latents: (N, C, h, w), of standard deviation about 1.
        title: a phrase, shown above and read aloud.

    Raises:
        InputError: on pictures or latents of another shape, or not equally many.
    """
    pictures, latents = as_pictures("pictures", pictures), as_array("latents", latents, 4)
    check_length("latents", len(latents), len(pictures), "picture")
    columns = 1 + latents.shape[1]
    if columns > 9:
        raise InputError("latents", got=f"{columns - 1} channels", expected="at most 8")
    side = min(SIDE, WIDTH / (columns + 1))
    height = TITLE_HEIGHT + LINE_HEIGHT + len(pictures) * (side + GAP)
    figure = new_figure(height, width=side * (columns + 0.7), title=title)
    grid = figure.subplots(len(pictures), columns, squeeze=False)
    names = ["picture"] + [f"channel {number}" for number in range(1, columns)]
    for row, (axes, picture, channels) in enumerate(zip(grid, pictures, latents, strict=True)):
        labels = names if row == 0 else [""] * columns
        show_picture(axes[0], picture, labels[0])
        for panel, channel, label in zip(axes[1:], channels, labels[1:], strict=True):
            bare_axes(panel, title=label)
            shown = panel.imshow(
                channel, cmap=COLOURS, vmin=-LIMIT, vmax=LIMIT, interpolation="nearest"
            )
    bar = figure.colorbar(shown, ax=grid[:, -1].tolist(), fraction=0.1, aspect=30)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=9, labelcolor=INK)
    return Picture(figure, title)
