"""The common build of the furry animals: a big head on a small, plump, sitting body.

Each class adds its own ears, nose and tail; `Build` holds what varies between its members.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tlab_diffusion.picturebook.faces import Face
from tlab_diffusion.picturebook.look import Figure, Look
from tlab_diffusion.picturebook.palette import INK, lightness, mix
from tlab_diffusion.picturebook.shapes import blob, curve, mirrored, oval


@dataclass(frozen=True)
class Build:
    """The proportions of one animal, in units of the frame.

    Args:
        head: half width and half height of the head.
        body: half width of the body.
        chin: how far the cheeks hang (0 round, 1 jowly).
        gap: distance of the eyes from the middle.
        snout: how far the nose stands out in a side view.
        floppy: ears hang over the head, and do not stand behind it.
    """

    head: tuple[float, float]
    body: float
    chin: float
    gap: float
    snout: float
    floppy: bool = False

    @property
    def middle(self) -> float:
        """The height of the middle of the head (negative: above the feet)."""
        return -27 - self.head[1] * 0.8


Part = Callable[[Look, str, Build], str]  # draws one part of an animal for a view


def furry_build(
    rng: Random,
    head: tuple[float, float],
    body: tuple[float, float],
    snout: float = 5,
    floppy: bool = False,
) -> Build:
    """Draws the proportions of an animal; `head` and `body` are ranges of half widths."""
    return Build(
        head=(rng.uniform(*head), rng.uniform(16, 18.5)),
        body=rng.uniform(*body),
        chin=rng.uniform(0, 1),
        gap=rng.uniform(6.6, 8.6),
        snout=snout * rng.uniform(0.85, 1.2),
        floppy=floppy,
    )


def draw_furry(look: Look, view: str, build: Build, ears: Part, tail: Part, nose: Part) -> Figure:
    """Puts an animal together, from the parts at the back to the face."""
    head = _head(look, view, build)
    head = head + ears(look, view, build) if build.floppy else ears(look, view, build) + head
    if view == "back":
        svg = _body(look, view, build) + head + tail(look, view, build)
    else:
        svg = tail(look, view, build) + _body(look, view, build) + head + nose(look, view, build)
    width, height = build.head
    side = view == "side"
    x = 2 if side else 0
    scale = width / (18 if side else 20)
    face_x = x + width * 0.34 if side else 0
    return Figure(
        svg=svg,
        face=Face(face_x, build.middle - 0.5, scale, build.gap, side),
        head=(0, build.middle - height * 0.93, width * 0.95),
        neck=(x * 0.5, -27, build.body * 1.55),
        hand=(-build.body if side else build.body + 3, -15),
        width=build.body * 2.5,
    )


def _head(look: Look, view: str, build: Build) -> str:
    width, height = build.head
    y = build.middle
    cheek = width * (0.62 + 0.16 * build.chin)
    outline = [
        *[(0, y - height), (width * 0.62, y - height * 0.84), (width, y + height * 0.08)],
        *[(cheek, y + height * 0.82), (0, y + height)],
    ]
    if view != "side":
        head = look.brush.solid(blob(mirrored(outline)), look.base, look.marks)
        if view == "back":
            return head
        return head + look.patch(0, y + 3.6, width * 0.76, height * 0.7)
    head = blob([(x * 0.94 + 2, py) for x, py in mirrored(outline)])
    svg = look.brush.solid(head, look.base, look.marks)
    svg += look.patch(width * 0.56, y + 1, width * 0.44, height * 0.66)
    return svg + look.brush.shape(_muzzle(build), look.light)


def _muzzle(build: Build) -> str:
    """The snout in a side view; the nose sits at its tip, the mouth below."""
    (width, height), y, reach = build.head, build.middle, build.snout
    root = width * 0.62
    tip = width * 0.98 + reach
    points = [(root, y + height * 0.06), (tip - 3, y + height * 0.12), (tip, y + height * 0.36)]
    return blob([*points, (tip - 4, y + height * 0.78), (root, y + height * 0.8)])


def _body(look: Look, view: str, build: Build) -> str:
    brush, w = look.brush, build.body
    if view == "side":
        back = [(-3, -34), (-w * 0.7, -25), (-w - 1, -9), (-w * 0.7, -0.5)]
        front = [(5, 0), (w * 0.6, -10), (w * 0.62, -24), (w * 0.45, -34)]
        parts = brush.solid(blob(back + front), look.base, look.marks)
        haunch = curve((-w * 0.1, -2), (-w * 0.05, -14), (-w * 0.75, -14))
        parts += brush.stroke(haunch, mix(look.base, INK, 0.4), 1.4)
        parts += brush.limb(curve((w * 0.42, -20), (w * 0.5, -4)), look.base, 8)
        return parts + _foot(look, w * 0.5 + 3, 1) + _foot(look, -w * 0.1, 1)
    half = [(0, -36), (w * 0.66, -31), (w, -12), (w * 0.8, -1), (0, 0)]
    body = brush.solid(blob(mirrored(half)), look.base, look.marks)
    arms = [
        brush.limb(curve((s * w * 0.78, -23), (s * (w + 3), -19), (s * (w + 2), -12)), look.base, 8)
        for s in (-1, 1)
    ]
    feet = _foot(look, -w * 0.55, 0) + _foot(look, w * 0.55, 0)
    return feet + body + "".join(arms) if view == "back" else body + feet + "".join(arms)


def _foot(look: Look, x: float, ahead: int) -> str:
    return look.brush.shape(oval(x, -2.4, 6 + ahead, 4), look.deep)


def button_nose(colour: str, width: float) -> Part:
    """A nose between the eyes, or at the tip of the snout in a side view."""

    def draw(look: Look, view: str, build: Build) -> str:
        x, y = 0, build.middle + 3.4
        if view == "side":
            x = build.head[0] * 0.98 + build.snout - 1
            y = build.middle + build.head[1] * 0.2
        nose = look.brush.flat(oval(x, y, width, width * 0.72), colour)
        if lightness(colour) > 0.25:
            return nose
        return nose + look.brush.flat(oval(x - 0.7, y - 0.8, width * 0.3, width * 0.2), "#ffffff")

    return draw
