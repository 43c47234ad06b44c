"""From a scene to an SVG picture, and from there to pixels."""

import io
import math
from random import Random

import numpy as np

from tlab_diffusion.errors import InputError
from tlab_diffusion.picturebook.accessories import draw_accessory
from tlab_diffusion.picturebook.characters import CHARACTERS, SUBJECT_CHARACTERS
from tlab_diffusion.picturebook.characters.oddities import with_oddities
from tlab_diffusion.picturebook.faces import draw_face
from tlab_diffusion.picturebook.look import Figure, look_of
from tlab_diffusion.picturebook.places import PLACE_DRAWERS
from tlab_diffusion.picturebook.scene import Scene
from tlab_diffusion.picturebook.styles import STYLE_OF

MIN_SIZE, MAX_SIZE = 8, 2048
# Of a face of scale 1: how far its middle lies below the eyes, its half height, and how far a
# profile's middle lies ahead of the point between the eyes.
FACE_DROP, FACE_HALF_HEIGHT, FACE_AHEAD = 3.0, 9.5, 3.5


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
    brush, figure = STYLE_OF[scene.style].character, _figure(scene)
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


def _figure(scene: Scene) -> Figure:
    """The character at the origin, upright, and where its face and what it wears go."""
    look = look_of(STYLE_OF[scene.style].character, scene.colour, scene.pattern)
    draw_body = SUBJECT_CHARACTERS.get(scene.subject, CHARACTERS[scene.class_noun])
    figure = draw_body(look, scene.view, Random(scene.shape))
    if scene.oddity is None:
        return figure
    return with_oddities(figure, look, scene.view, Random(scene.oddity))


def face_circle(scene: Scene) -> tuple[float, float, float] | None:
    r"""Where the face is seen: x, y and radius of a circle around it, all in [0, 1] of the side.

    None from behind, where there is no face.
    """
    if scene.view == "back":
        return None
    face = _figure(scene).face
    half_width = 7.0 if face.side else face.gap + 5.4  # of a face of scale 1, see `faces.py`
    middle = face.x + (FACE_AHEAD if face.side else 0) * face.scale, face.y + FACE_DROP * face.scale
    dx, dy = (scene.size * part for part in (-middle[0] if scene.flip else middle[0], middle[1]))
    cos, sin = math.cos(math.radians(scene.tilt)), math.sin(math.radians(scene.tilt))
    x, y = scene.x + (cos * dx - sin * dy) / 100, scene.y + (sin * dx + cos * dy) / 100
    return x, y, max(half_width, FACE_HALF_HEIGHT) * face.scale * scene.size / 100


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
