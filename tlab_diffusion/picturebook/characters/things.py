"""House, teapot and mushroom: things with a face."""

from random import Random

from tlab_diffusion.picturebook.faces import Face
from tlab_diffusion.picturebook.look import Figure, Look
from tlab_diffusion.picturebook.palette import CREAM, INK, mix
from tlab_diffusion.picturebook.shapes import blob, box, curve, mirrored, oval, path, polygon

GLASS, STEM, BRICK = "#a9dff5", "#fff2d8", "#b9604a"


def draw_house(look: Look, view: str, rng: Random) -> Figure:
    """A cottage: pitched roof, chimney, a face on the front wall."""
    w, wall = rng.uniform(18, 24.5), -rng.uniform(30, 38)
    roof, gap = wall - rng.uniform(14, 26), rng.uniform(7.4, 9)
    eaves = rng.uniform(4, 7)
    brush, side = look.brush, view == "side"
    x = w * (0.52 if view == "front" else -0.62)  # the chimney
    svg = brush.shape(box(x - 4, roof + 1, 8, -roof + wall - 6, 1), BRICK)
    svg += brush.shape(box(x - 5.2, roof - 1, 10.4, 4, 1), BRICK)
    svg += brush.solid(box(-w, wall - 2, 2 * w, -wall + 1, 2), look.base, look.marks)
    ends = (-w - eaves, w + eaves)
    ridge = (-w * 0.7, w * 0.7) if side else (-2.5, 2.5)
    top = polygon([(ends[0], wall + 2), (ridge[0], roof), (ridge[1], roof), (ends[1], wall + 2)])
    svg += brush.solid(top, look.deep, look.marks)
    if side:
        for k in (0.4, 0.75):
            y = roof + (wall + 2 - roof) * k
            reach = w * 0.7 + (w * 0.3 + eaves) * k - 2
            svg += brush.stroke(curve((-reach, y), (reach, y)), mix(look.deep, INK, 0.4), 1.4)
    face_y = wall * 0.66
    if view == "back":
        svg += _window(look, -7, wall * 0.72, 14, 12)
        svg += brush.flat(oval(0, wall - (wall - roof) * 0.38, 3.6, 3.6), INK)
    elif side:
        svg += _window(look, -w + 5, wall * 0.66, 10, 11)
        svg += look.patch(w * 0.54, wall * 0.54, w * 0.42, -wall * 0.36)
        svg += brush.shape(oval(w + 1.5, face_y + 3.5, 3.2, 2.6), look.light)
    else:
        svg += look.patch(0, wall * 0.56, w * 0.66, -wall * 0.34)
        svg += brush.shape(oval(0, wall - (wall - roof) * 0.38, 4, 4), GLASS)
    face = Face(w * 0.36 if side else 0, face_y, 0.95, gap * 0.98, side)
    head = (0, roof + 2, 15) if not side else (w * 0.1, roof + 1, 17)
    hand = ((-1 if side else 1) * (w + 1), -14)
    return Figure(svg, face, head, (0, -5, w * 2), hand, w * 2.2)


def _window(look: Look, x: float, y: float, width: float, height: float) -> str:
    pane = look.brush.shape(box(x, y, width, height, 1), GLASS)
    bar = curve((x + width / 2, y), (x + width / 2, y + height))
    return pane + look.brush.stroke(bar, CREAM, 1.8)


def draw_teapot(look: Look, view: str, rng: Random) -> Figure:
    """A round pot with spout, handle, lid and knob."""
    w, h, gap = rng.uniform(18, 24), rng.uniform(32, 43), rng.uniform(7, 8.6)
    spout, handle, knob = rng.uniform(0.75, 1.2), rng.uniform(0.75, 1.2), rng.uniform(2.6, 5)
    brush, side, top = look.brush, view == "side", -3 - h
    way = -1 if view == "back" else 1
    feet = "".join(brush.shape(oval(x + side * 2, -2, 5.5, 3.2), look.deep) for x in (-9, 9))
    lid = brush.shape(oval(0, top - 5 - knob * 0.4, knob, knob), look.deep)
    rim = [(0, top - 5), (w * 0.4, top - 2.5), (w * 0.58, top + 3), (0, top + 5)]
    lid += brush.solid(blob(mirrored(rim)), look.deep, look.marks)
    root, loop = -way * w * 0.8, -way * (w + 16 * handle)
    ring = curve((root, -h * 0.8), (loop, -h * 0.98), (loop, -h * 0.2), (root, -h * 0.3))
    s, reach = way * w, way * 15 * spout
    mouth, tip = s + reach * 0.55, s + reach * 1.25
    under = ("C", s + reach, -h * 0.28, mouth + way * 6, -h * 0.6, tip, -h * 0.98)
    over = ("C", mouth - way * 2, -h * 0.8, mouth - way * 2, -h * 0.66, s * 0.7, -h * 0.66)
    beak = path("M", s * 0.7, -h * 0.2, *under, "L", mouth, -h * 1.03, *over, "Z")
    half = [(0, top), (w * 0.62, top + 2), (w, -h * 0.5), (w * 0.72, -6), (0, -2.5)]
    body = brush.solid(blob(mirrored(half)), look.base, look.marks)
    y = -h * 0.56
    if side:
        bar = curve((-w * 0.35, -h * 0.82), (-w * 0.62, -h * 0.5), (-w * 0.35, -h * 0.22))
        svg = feet + body + look.patch(w * 0.46, y + 1.5, w * 0.46, h * 0.27)
        svg += brush.limb(bar, look.deep, 6) + lid
        face = Face(w * 0.26, y, 1.04, gap, True)
    else:
        svg = (
            brush.limb(ring, look.base, 5.6)
            + brush.solid(beak, look.base, look.marks)
            + feet
            + body
            + lid
        )
        svg += "" if view == "back" else look.patch(0, y + 2, w * 0.7, h * 0.28)
        face = Face(0, y - 0.5, 0.98, gap * 0.94)
    hand = (way * (w + 10 * handle), -h * 0.3) if not side else (-w * 0.5, -h * 0.4)
    return Figure(svg, face, (0, top - 4 - knob, 16), (0, -11, w * 1.75), hand, w * 2)


def draw_mushroom(look: Look, view: str, rng: Random) -> Figure:
    """A coloured cap on a pale stem, which has the face and the feet."""
    cap, top, stem = rng.uniform(23, 32), -rng.uniform(50, 63), rng.uniform(14.5, 19.5)
    rim, gap, droop = rng.uniform(-33, -30), rng.uniform(6.6, 7.8), rng.uniform(1, 5)
    brush, side = look.brush, view == "side"
    feet = "".join(brush.shape(oval(x + side * 3, -2.2, 6, 3.6), look.deep) for x in (-8, 8))
    half = [(0, rim - 2), (stem * 0.9, rim), (stem, -12), (stem * 0.8, -3), (0, -2)]
    svg = feet + brush.solid(blob(mirrored(half)), STEM)
    edge = rim + droop
    left = ("M", -cap, edge, "C", -cap, top + 8, -cap * 0.55, top, 0, top)
    right = ("S", cap, top + 8, cap, edge, "Q", cap * 0.5, rim + 5, 0, rim + 3)
    dome = path(*left, *right, "T", -cap, edge, "Z")
    svg += brush.solid(dome, look.base, look.marks)
    if view == "back":
        svg += brush.shape(box(-7, -25, 14, 20, 7), look.deep)  # somebody lives there
        svg += brush.flat(oval(4, -14, 1.4, 1.4), STEM)
    elif side:
        svg += brush.shape(oval(stem + 0.5, -15.5, 3.2, 2.6), STEM)
    face = Face(stem * 0.3 if side else 0, -19, 1 if side else stem / 17, gap, side)
    hand = ((-1 if side else 1) * (stem + 2), -14)
    return Figure(svg, face, (0, top + 1.5, 19), (0, -7, stem * 1.95), hand, stem * 2.4)
