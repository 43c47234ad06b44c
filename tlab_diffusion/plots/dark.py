"""The dark face of a figure: light ink on a dark ground, the pictures in it unchanged."""

from collections.abc import Iterable

import numpy as np
from matplotlib.figure import Figure

GROUND = 17  # of 255: the ground of JupyterLab's dark theme


def dark_pixels(pixels: np.ndarray, kept: Iterable[tuple[slice, slice]] = ()) -> np.ndarray:
    r"""Turn lightness round and keep hue and saturation.

    Args:
        pixels: (H, W, 3) uint8, dark ink on white.
        kept: rectangles (rows, columns) that stay as they are.

    Returns:
        (H, W, 3) uint8; white has become the dark ground.
    """
    red, green, blue = (pixels[:, :, channel].astype(np.int16) for channel in range(3))
    # Lightness is the mean of the largest and the smallest channel.
    largest = np.maximum(np.maximum(red, green), blue)
    smallest = np.minimum(np.minimum(red, green), blue)
    turned = pixels + (255 - largest - smallest)[:, :, None]
    dark = (GROUND + turned - turned * GROUND // 255).astype(np.uint8)
    for place in kept:
        dark[place] = pixels[place]
    return dark


def picture_places(figure: Figure) -> list[tuple[slice, slice]]:
    """The rectangles (rows, columns) of the colour pictures in a drawn figure."""
    height = round(figure.bbox.height)
    places = []
    for axes in figure.axes:
        for image in axes.images:
            array = np.asarray(image.get_array())
            # Numbers drawn with a colour map are ink, and a white picture is a blank.
            if array.ndim != 3 or not image.get_visible() or (array == 255).all():
                continue
            box = axes.bbox
            rows = slice(height - round(box.y1), height - round(box.y0))
            places.append((rows, slice(round(box.x0), round(box.x1))))
    return places
