"""Bird and fish: a single round body with a face, wings or fins, and a tail."""

from dataclasses import dataclass
from random import Random

from tlab_diffusion.picturebook.faces import Face
from tlab_diffusion.picturebook.look import Figure, Look
from tlab_diffusion.picturebook.shapes import blob, curve, mirrored, oval, polygon

BEAK, LEG = "#ffa92e", "#f08a24"


@dataclass(frozen=True)
class Bird:
    """The proportions of one bird: half width, top of the head, height of the widest part."""

    width: float
    top: float
    waist: float
    gap: float
    beak: float
    tuft: float
    wing: float


def draw_bird(look: Look, view: str, rng: Random) -> Figure:
    """A round chick: beak, folded wings, a tuft on the head, thin legs."""
    bird = Bird(
        width=rng.uniform(17.5, 24.5),
        top=-rng.uniform(47, 59),
        waist=rng.uniform(-26, -20),
        gap=rng.uniform(6.6, 8.4),
        beak=rng.uniform(0.85, 1.3),
        tuft=rng.uniform(4, 14),
        wing=rng.uniform(0.8, 1.15),
    )
    w, top, y = bird.width, bird.top, bird.top + 17
    half = [(0, top), (w * 0.66, top + 6), (w, bird.waist - 4), (w * 0.7, -9), (0, -6)]
    body = look.brush.solid(blob(mirrored(half)), look.base, look.marks)
    side = view == "side"
    svg = _legs(look, ahead=2 if side else 0) + _tuft(look, bird) + body
    if side:
        svg = _tail_feathers(look, bird) + svg + _profile(look, bird, y)
    else:
        svg += _wings(look, bird, view == "back", y)
    face = Face(w * 0.28, y, 1.02, bird.gap, True) if side else Face(0, y - 1, 1, bird.gap)
    hand = (-w * 0.9, -18) if side else (w + 2, -22)
    return Figure(svg, face, (0, top + 2, w * 0.8), (0, -26, w * 1.92), hand, w * 2.1)


def _legs(look: Look, ahead: float) -> str:
    return "".join(
        look.brush.limb(curve((x, -9), (x, -2.5)), LEG, 3.4)
        + look.brush.shape(oval(x + ahead, -1.8, 5.4, 2.4), LEG)
        for x in (-7, 7)
    )


def _tuft(look: Look, bird: Bird) -> str:
    foot, tip = bird.top + 3, bird.top - bird.tuft
    low, mid = bird.top - bird.tuft * 0.45, bird.top - bird.tuft * 0.7
    points = [(-4, foot), (-7, mid), (-1, low), (2, tip), (4, low), (7, low), (4, foot)]
    return look.brush.shape(polygon(points), look.deep)


def _tail_feathers(look: Look, bird: Bird) -> str:
    w = bird.width
    points = [(-w * 0.6, -24), (-w - 14, -33), (-w - 11, -19), (-w * 0.6, -12)]
    return look.brush.shape(blob(points), look.deep)


def _profile(look: Look, bird: Bird, y: float) -> str:
    """Face patch, folded wing and beak from the side."""
    w, brush = bird.width, look.brush
    fold = [(-w * 0.75, -29), (-1, -30), (2, -22), (-6, -13), (-w * 0.9, -17)]
    beak = [(w * 0.72, y - 1), (w + 9 * bird.beak, y + 4), (w * 0.82, y + 8)]
    return (
        look.patch(w * 0.5, y + 2, w * 0.42, 10.5)
        + brush.shape(blob([(x * bird.wing, py) for x, py in fold]), look.deep)
        + brush.shape(polygon(beak), BEAK)
    )


def _wings(look: Look, bird: Bird, back: bool, y: float) -> str:
    """Both wings; between them the tail (from behind) or the face patch and the beak."""
    w, wing, brush = bird.width, bird.wing, look.brush
    half = [(w * 0.86, -34), (w + 6 * wing, -24), (w * 0.95, -10 / wing), (w * 0.7, -20)]
    wings = "".join(brush.shape(blob([(s * x, py) for x, py in half]), look.deep) for s in (-1, 1))
    if back:
        tail = polygon([(-5, -22), (5, -22), (9, -4), (0, -7), (-9, -4)])
        return wings + brush.shape(tail, look.deep)
    b = 4.2 * bird.beak
    beak = polygon([(-b, y + 2.2), (b, y + 2.2), (0, y + 2.8 + b)])
    return look.patch(0, y + 2, w * 0.76, 12) + wings + brush.shape(beak, BEAK)


@dataclass(frozen=True)
class Fish:
    """The proportions of one fish: half length and half height, and the sizes of its fins."""

    length: float
    height: float
    gap: float
    tail: float
    fin: float
    crest: float


MIDDLE = -29  # the height at which a fish floats


def draw_fish(look: Look, view: str, rng: Random) -> Figure:
    """A plump fish that floats a little above the ground."""
    fish = Fish(
        length=rng.uniform(21.5, 28.5),
        height=rng.uniform(15.5, 23),
        gap=rng.uniform(7, 9),
        tail=rng.uniform(11, 16),
        fin=rng.uniform(0.7, 1.35),
        crest=rng.uniform(4, 14),
    )
    w, h, y = fish.length, fish.height, MIDDLE
    if view == "side":
        return Figure(
            svg=_fish_side(look, fish),
            face=Face(w * 0.34, y - 3, 1.1, fish.gap, True),
            head=(2, y - h + 1, 15),
            neck=(-1, y - 4, h * 1.3),
            hand=(-w * 0.7, y),
            width=w * 1.8,
        )
    r = (w + h) / 2 - 1.5
    return Figure(
        svg=_fish_ahead(look, fish, r, view == "back"),
        face=Face(0, y - 1.5, 0.95, fish.gap),
        head=(0, y - r + 1.5, 17),
        neck=(0, y + r * 0.76, r * 1.2),
        hand=(r + 4, y + 4),
        width=r * 1.9,
    )


def _fish_side(look: Look, fish: Fish) -> str:
    w, h, y, brush = fish.length, fish.height, MIDDLE, look.brush
    end = -w - fish.tail
    tail = [(-w + 6, y), (end, y - 14), (-w - fish.tail * 0.6, y), (end, y + 14)]
    ridge = y - h - fish.crest
    crest = [(-12, y - h * 0.7), (-9, ridge), (3, ridge + 1), (10, y - h * 0.8)]
    over = [(w, y), (w * 0.6, y - h * 0.86), (0, y - h), (-w * 0.7, y - h * 0.6)]
    under = [(-w, y), (-w * 0.7, y + h * 0.6), (0, y + h), (w * 0.6, y + h * 0.86)]
    fin = [(-4, y + 3), (-14 * fish.fin, y + 1), (-12 * fish.fin, y + 12), (-3, y + 11)]
    return (
        brush.shape(polygon(tail), look.deep)
        + brush.shape(blob(crest), look.deep)
        + brush.solid(blob(over + under), look.base, look.marks)
        + look.patch(w * 0.52, y - 1, w * 0.42, h * 0.68)
        + brush.shape(blob(fin), look.deep)
    )


def _fish_ahead(look: Look, fish: Fish, r: float, back: bool) -> str:
    """A fish that swims towards us, or away: a disc of radius r with fins."""
    y, fin, brush = MIDDLE, fish.fin, look.brush
    half = [(r - 4, y + 2), (r + 11 * fin, y - 3), (r + 9 * fin, y + 9), (r - 3, y + 9)]
    svg = "".join(
        brush.solid(blob([(s * x, py) for x, py in half]), look.deep, look.marks) for s in (-1, 1)
    )
    ridge = y - r - fish.crest
    crest = [(-6, y - r + 3), (-3, ridge), (3, ridge), (6, y - r + 3)]
    body = [(0, y - r), (r * 0.75, y - r * 0.72), (r, y + 1), (r * 0.7, y + r * 0.75)]
    svg += brush.solid(blob(crest), look.deep, look.marks)
    svg += brush.solid(blob(mirrored([*body, (0, y + r * 0.97)])), look.base, look.marks)
    if back:
        tail = [(0, y - 13), (4.5, y - 15), (3.4, y), (4.5, y + 17), (0, y + 15)]
        return svg + brush.shape(blob(mirrored(tail)), look.deep)
    return svg + look.patch(0, y + 1.5, r * 0.68, r * 0.55)
