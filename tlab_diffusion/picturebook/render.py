"""From a scene to an SVG picture, and from there to pixels."""

import io
from random import Random

import numpy as np

from tlab_diffusion.errors import InputError
from tlab_diffusion.picturebook.accessories import draw_accessory
from tlab_diffusion.picturebook.characters import CHARACTERS, SUBJECT_CHARACTERS
from tlab_diffusion.picturebook.faces import draw_face
from tlab_diffusion.picturebook.look import look_of
from tlab_diffusion.picturebook.places import PLACE_DRAWERS
from tlab_diffusion.picturebook.scene import Scene
from tlab_diffusion.picturebook.styles import STYLE_OF

MIN_SIZE, MAX_SIZE = 8, 2048


def to_svg(scene: Scene) -> str:
    r"""Draws a scene as a standalone SVG document, 100 x 100 units.

    Args:
        scene: what to draw.

    Returns:
        the document; it can be shown at any size.
    """
    style = STYLE_OF[scene.style]
    place = PLACE_DRAWERS[scene.place](style.place, Random(scene.setting))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100" width="512" height="512">'
        f"{style.shade()}{place.behind}{style.ground}{_character(scene)}{place.before}{style.finish}</svg>"
    )


def _character(scene: Scene) -> str:
    """The character on its feet, with its shadow, what it wears and its face."""
    brush = STYLE_OF[scene.style].character
    look = look_of(brush, scene.colour, scene.pattern)
    draw_body = SUBJECT_CHARACTERS.get(scene.subject, CHARACTERS[scene.class_noun])
    figure = draw_body(look, scene.view, Random(scene.shape))
    face = "" if scene.view == "back" else draw_face(brush, figure.face, scene.expression)
    worn = draw_accessory(brush, scene.accessory, figure, scene.view)
    x, y, size = 100 * scene.x, 100 * scene.y, scene.size
    mirror = -size if scene.flip else size
    shadow = (
        f'<ellipse cx="{x:.2f}" cy="{y:.2f}" rx="{figure.width * 0.62 * size:.2f}" '
        f'ry="{3.6 * size:.2f}" fill="#1c1433" opacity=".3"/>'
    )
    move = f"translate({x:.2f} {y:.2f}) rotate({scene.tilt:.2f}) scale({mirror:.3f} {size:.3f})"
    return f'{shadow}<g transform="{move}">{worn.behind}{figure.svg}{face}{worn.before}</g>'


def check_size(size: object) -> None:
    """Refuses a size that is not an integer from 8 to 2048."""
    if isinstance(size, bool) or not isinstance(size, int) or not MIN_SIZE <= size <= MAX_SIZE:
        expected = f"an integer from {MIN_SIZE} to {MAX_SIZE}"
        raise InputError("size", got=repr(size), expected=expected)


def render(scene: Scene, size: int = 64) -> np.ndarray:
    r"""Draws a scene as pixels.

    Args:
        scene: what to draw.
        size: width and height in pixels, from 8 to 2048.

    Returns:
        (size, size, 3) uint8, red, green, blue from 0 to 255.

    Raises:
        InputError: a size out of range.
    """
    # Loaded here, so that the grammar can be used without the rasteriser.
    import resvg_py
    from PIL import Image

    check_size(size)
    svg = to_svg(scene)
    png = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, skip_system_fonts=True)
    return np.array(Image.open(io.BytesIO(png)).convert("RGB"))
