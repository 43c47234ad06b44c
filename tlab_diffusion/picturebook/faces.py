"""Faces: eyes, mouth and cheeks for every expression, from the front and from the side.

A face is drawn on a light patch in ink, so that it reads on every colour and at 64 pixels.
Its middle lies between the eyes; a face of scale 1 is about 26 units wide.
"""

from dataclasses import dataclass

from tlab_diffusion.picturebook.brush import Brush
from tlab_diffusion.picturebook.palette import CREAM, INK
from tlab_diffusion.picturebook.shapes import curve, oval

BLUSH, MOUTH, TONGUE, TEAR = "#f27d8a", "#7d2336", "#f2808c", "#4fb4f0"


@dataclass(frozen=True)
class Face:
    """Where a face sits and how its eyes are set.

    Args:
        x, y: the middle, between the eyes.
        scale: size; 1 is about 26 units wide.
        gap: distance from the middle to each eye, before scaling.
        side: a profile that looks to the right, with a single eye.
    """

    x: float
    y: float
    scale: float = 1
    gap: float = 7.2
    side: bool = False


def draw_face(brush: Brush, face: Face, expression: str) -> str:
    """Draws the expression on the face."""
    eyes = (3.4,) if face.side else (-face.gap, face.gap)
    mouth = 5.6 if face.side else 0
    cheeks = (-1.6,) if face.side else (-face.gap - 3.6, face.gap + 3.6)
    parts = [brush.flat(oval(x, 5.6, 3.1, 2.3), BLUSH, 0.75) for x in cheeks]
    parts += [_EYES[expression](brush, x, -1 if x < 0 or face.side else 1) for x in eyes]
    parts.append(_MOUTHS[expression](brush, mouth, 6.4))
    move = f"translate({face.x:.2f} {face.y:.2f}) scale({face.scale:.3f})"
    return f'<g transform="{move}">{"".join(parts)}</g>'


def _happy_eye(brush: Brush, x: float, side: int) -> str:
    return (
        brush.flat(oval(x, 0, 3.1, 4.1), INK)
        + brush.flat(oval(x - 0.9, -1.5, 1.4, 1.6), CREAM)
        + brush.flat(oval(x + 1, 1.7, 0.7, 0.7), CREAM)
    )


def _sad_eye(brush: Brush, x: float, side: int) -> str:
    brow = curve((x + 3.6 * side, -3.6), (x - 3.2 * side, -7.4))
    tear = oval(x + 2.6 * side, 6.6, 1.9, 2.7)
    return (
        brush.flat(oval(x, 0.8, 2.8, 3.3), INK)
        + brush.flat(oval(x - 0.8, -0.2, 1.1, 1.2), CREAM)
        + brush.stroke(brow, INK, 1.7)
        + brush.flat(tear, TEAR)
    )


def _surprised_eye(brush: Brush, x: float, side: int) -> str:
    return (
        brush.flat(oval(x, -0.6, 5.4, 5.8), INK)
        + brush.flat(oval(x, -0.6, 4.3, 4.7), "#ffffff")
        + brush.flat(oval(x, -0.4, 1.9, 2.1), INK)
    )


def _sleepy_eye(brush: Brush, x: float, side: int) -> str:
    lid = curve((x - 4, -0.4), (x - 2.2, 3.4), (x + 2.2, 3.4), (x + 4, -0.4))
    return brush.stroke(lid, INK, 1.9)


def _smile(brush: Brush, x: float, y: float) -> str:
    lips = f"M{x - 5:.2f} {y - 0.8:.2f}Q{x:.2f} {y + 1:.2f} {x + 5:.2f} {y - 0.8:.2f}"
    open_mouth = lips + f"Q{x + 4:.2f} {y + 6.6:.2f} {x:.2f} {y + 6.6:.2f}"
    open_mouth += f"Q{x - 4:.2f} {y + 6.6:.2f} {x - 5:.2f} {y - 0.8:.2f}Z"
    return brush.flat(open_mouth, MOUTH) + brush.flat(oval(x, y + 4.6, 2.5, 1.6), TONGUE)


def _frown(brush: Brush, x: float, y: float) -> str:
    return brush.stroke(curve((x - 4.2, y + 4.2), (x, y - 1.8), (x + 4.2, y + 4.2)), INK, 1.9)


def _gasp(brush: Brush, x: float, y: float) -> str:
    return brush.flat(oval(x, y + 3.2, 2.9, 3.8), MOUTH)


def _doze(brush: Brush, x: float, y: float) -> str:
    return brush.stroke(curve((x - 2.4, y + 1.4), (x, y + 2.6), (x + 2.4, y + 1.4)), INK, 1.6)


_EYES = {
    "happy": _happy_eye,
    "sad": _sad_eye,
    "surprised": _surprised_eye,
    "sleepy": _sleepy_eye,
}
_MOUTHS = {"happy": _smile, "sad": _frown, "surprised": _gasp, "sleepy": _doze}
