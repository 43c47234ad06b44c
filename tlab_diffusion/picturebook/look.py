"""What a character is made of: its colours and the pattern on its coat."""

from dataclasses import dataclass, replace

from tlab_diffusion.picturebook.brush import Brush
from tlab_diffusion.picturebook.faces import Face
from tlab_diffusion.picturebook.palette import CREAM, INK, MARKS, PAINTS, SPOTS, lightness, mix
from tlab_diffusion.picturebook.shapes import box, oval


@dataclass(frozen=True)
class Look:
    """The brush and the colours with which a character is painted.

    Args:
        brush: draws in the scene's style.
        base: the main colour, which the word of the caption names.
        mark: the colour of the pattern on it.
        pattern: the pattern's name.
    """

    brush: Brush
    base: str
    mark: str
    pattern: str

    @property
    def light(self) -> str:
        """A pale tint of the main colour: the patch under a face, inner ears, a belly."""
        return mix(self.base, CREAM, 0.78)

    @property
    def deep(self) -> str:
        """A deeper tone of the main colour: roofs, fins, parts that lie in the shade."""
        if lightness(self.base) < 0.25:
            return mix(self.base, CREAM, 0.16)
        return mix(self.base, INK, 0.24)

    def patch(self, x: float, y: float, rx: float, ry: float) -> str:
        """The pale oval under a face, with a rim that keeps the pattern away from it."""
        rim = self.brush.flat(oval(x, y, rx + 0.5, ry + 0.5), self.base)
        return rim + self.brush.flat(oval(x, y, rx - 0.8, ry - 0.8), self.light)

    @property
    def marks(self) -> str:
        """The pattern, large enough for every body; `Brush.solid` cuts it to shape."""
        if self.pattern == "plain":
            return ""
        data = {"striped": _STRIPES, "spotted": _SPOTS, "checked": _CHECKS}[self.pattern]
        return self.brush.flat(data, self.mark)


@dataclass(frozen=True)
class Figure:
    """A drawn character, and where things can be put on it.

    The feet stand at (0, 0), the body rises to about y = -62, a side view looks to the right.

    Args:
        svg: the body without its face.
        face: where the face goes.
        head: x, y of the top of the head and the width of a hat that fits.
        neck: x, y and width of a scarf.
        hand: x, y of a hand that holds a balloon.
        width: width of the shadow on the ground.
    """

    svg: str
    face: Face
    head: tuple[float, float, float]
    neck: tuple[float, float, float]
    hand: tuple[float, float]
    width: float

    def dressed(self, behind: str = "", before: str = "") -> "Figure":
        """The same figure with more parts behind and before its body."""
        return replace(self, svg=behind + self.svg + before)


def look_of(brush: Brush, colour: str, pattern: str) -> Look:
    """The look that two words of a caption name."""
    marks = SPOTS if pattern == "spotted" else MARKS
    return Look(brush, PAINTS[colour], marks[colour], pattern)


def _stripes() -> str:
    """Bands that bend downwards, as around a barrel."""
    bands = []
    for y in range(-86, 12, 11):
        bands.append(f"M-44 {y - 8}Q0 {y + 8} 44 {y - 8}V{y - 3}Q0 {y + 13} -44 {y - 3}Z")
    return "".join(bands)


def _spots() -> str:
    rows = [(x + 7 * (row % 2), -84 + 11 * row) for row in range(9) for x in range(-49, 50, 14)]
    return "".join(oval(x, y, 3.9, 3.9) for x, y in rows)


def _checks() -> str:
    cells = [(col * 8, -88 + 8 * row) for row in range(13) for col in range(-6, 6)]
    return "".join(box(x, y, 8, 8) for x, y in cells if (x + y) // 8 % 2 == 0)


_STRIPES, _SPOTS, _CHECKS = _stripes(), _spots(), _checks()
