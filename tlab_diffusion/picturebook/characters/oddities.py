"""Oddities: parts and markings, drawn at random, that no member of a class has.

A subject has its own by design, and no training sees them. What is to keep a subject's picture, or
to tell one character from another, must learn that there are more shapes than the classes have:
from these.
"""

from collections.abc import Callable
from math import cos, pi, sin
from random import Random

from tlab_diffusion.picturebook.brush import Brush
from tlab_diffusion.picturebook.look import Figure, Look
from tlab_diffusion.picturebook.palette import CREAM, GOLD, INK, PAINTS, PINK, RED, SKY
from tlab_diffusion.picturebook.shapes import Point, blob, box, curve, oval, polygon

_COLOURS = (*PAINTS.values(), GOLD, RED, PINK, SKY, CREAM, INK)

# Adds one oddity. All draw the same numbers for every view, so that a character stays itself.
Oddity = Callable[[Figure, Brush, str, Random], Figure]


def with_oddities(figure: Figure, look: Look, view: str, rng: Random) -> Figure:
    """The same figure with two or three oddities."""
    for add in rng.sample(_ODDITIES, rng.choice((2, 3))):
        figure = add(figure, look.brush, view, rng)
    return figure


def _emblem(figure: Figure, brush: Brush, view: str, rng: Random) -> Figure:
    """A sign on the belly, or on the forehead."""
    high, size, inner = rng.random() < 0.3, rng.uniform(5, 10.5), rng.uniform(0.35, 0.6)
    x, y = rng.uniform(-3, 3), rng.uniform(-27, -10)
    sign, outside, inside = _sign(rng), *rng.sample(_COLOURS, 2)
    if high:
        size, y = 0.7 * size, figure.head[1] + 5
    if view == "back":
        return figure
    x += 7 if view == "side" else 0
    svg = brush.shape(sign(x, y, size), outside) + brush.flat(sign(x, y, size * inner), inside)
    return figure.dressed(before=svg)


def _sign(rng: Random) -> Callable[[float, float, float], str]:
    """An outline that takes x, y and radius: round, or with any number of corners or points."""
    corners, depth = rng.randint(2, 8), rng.choice((1, 1, 0.75, 0.5, 0.35))
    turn, flat = rng.uniform(0, 2 * pi), rng.uniform(0.6, 1)

    def outline(x: float, y: float, radius: float) -> str:
        if corners == 2:
            return oval(x, y, radius, radius * flat)
        points = []
        for i in range(2 * corners):
            reach, angle = radius * (1, depth)[i % 2], turn + pi * i / corners
            points.append((x + reach * sin(angle), y - reach * cos(angle)))
        return polygon(points if depth < 1 else points[::2])

    return outline


def _belt(figure: Figure, brush: Brush, view: str, rng: Random) -> Figure:
    """A band around the body: straight, bent or jagged, with or without beads."""
    y, sag, jag = rng.uniform(-26, -8), rng.uniform(-4, 5), rng.choice((0, 0, 2.5, 3.5, 5))
    width, beads = rng.uniform(2.5, 6), rng.choice((0, 0, 3, 4, 6))
    colour, bead = rng.sample(_COLOURS, 2)
    half, steps = figure.width * (0.3 if view == "side" else 0.36), rng.randint(6, 12)
    line = []
    for i in range(steps + 1):
        place = 2 * i / steps - 1
        line.append((half * place, y + sag * (1 - place**2) + jag * (-1) ** i / 2))
    svg = brush.stroke("M" + "L".join(f"{x:.2f} {py:.2f}" for x, py in line), colour, width)
    for i in range(beads):
        place = (2 * i + 1) / beads - 1
        svg += brush.flat(oval(half * place, y + sag * (1 - place**2), 2, 2), bead)
    return figure.dressed(before=svg)


def _crest(figure: Figure, brush: Brush, view: str, rng: Random) -> Figure:
    """Stalks on the head, with or without knobs."""
    num, height, lean = rng.randint(1, 3), rng.uniform(7, 22), rng.uniform(-3, 14)
    width, knob = rng.uniform(2.4, 5), rng.choice((0, 3.5, 5, 6))
    sign, stalk, end = _sign(rng), *rng.sample(_COLOURS, 2)
    (x, y, _), svg = figure.head, ""
    for i in range(num):
        side = 0.4 if num == 1 else 2 * i / (num - 1) - 1
        foot = x + 8 * side
        tip = (foot + lean * side, max(y - height, -80))
        bend = (foot + 0.1 * lean * side, y - 0.7 * height)
        svg += brush.limb(curve((foot, y + 4), bend, tip), stalk, width)
        if knob:
            svg += brush.shape(sign(*tip, knob), end)
    return figure.dressed(behind=svg) if view == "back" else figure.dressed(before=svg)


def _mane(figure: Figure, brush: Brush, view: str, rng: Random) -> Figure:
    """Petals, spikes or balls around the head, behind it."""
    num, reach, size = rng.randint(7, 15), rng.uniform(17, 26), rng.uniform(4, 8.5)
    sign, colour, y = _sign(rng), rng.choice(_COLOURS), rng.uniform(-46, -34)
    svg = ""
    for i in range(num):
        angle = 2 * pi * i / num
        svg += brush.shape(sign(reach * sin(angle), y - reach * cos(angle), size), colour)
    return figure.dressed(behind=svg)


def _wings(figure: Figure, brush: Brush, view: str, rng: Random) -> Figure:
    """Wings, fins or big ears on both sides, with a mark in each."""
    reach, lift, drop = rng.uniform(24, 37), rng.uniform(34, 58), rng.uniform(8, 26)
    high, spot = rng.uniform(0.4, 0.95), rng.choice((0, 3, 4.5, 6))
    colour, mark, sign = *rng.sample(_COLOURS, 2), _sign(rng)
    svg = ""
    for side in (-1,) if view == "side" else (-1, 1):
        wing: list[Point] = [(side * 10, -lift * 0.8), (side * reach * 0.8, -lift)]
        wing += [(side * reach, -lift * high), (side * reach * 0.75, -drop), (side * 10, -drop)]
        svg += brush.shape(blob(wing), colour)
        if spot:
            svg += brush.flat(sign(side * reach * 0.72, -(lift + drop) / 2, spot), mark)
    return figure.dressed(before=svg) if view == "back" else figure.dressed(behind=svg)


def _pack(figure: Figure, brush: Brush, view: str, rng: Random) -> Figure:
    """Something large on the back: a shell, a box, a shield, with lines on it."""
    width, height, lines = rng.uniform(22, 31), rng.uniform(17, 27), rng.randint(0, 3)
    round_, colour, line = rng.random() < 0.7, *rng.sample(_COLOURS, 2)
    x, y = (-14 if view == "side" else 0), -height - rng.uniform(0, 6)
    if view != "front":
        width *= 0.66
    outline = oval(x, y, width, height)
    if not round_:
        outline = box(x - width, y - height, 2 * width, 2 * height, 4)
    svg = brush.shape(outline, colour)
    for i in range(lines):
        for side in (-1, 1):
            edge = x + side * width * (0.88 - 0.24 * i)
            bend = (edge - side * 0.28 * width, y)
            ends = (edge, y - 0.45 * height), (edge, y + 0.45 * height)
            svg += brush.stroke(curve(ends[0], bend, ends[1]), line, 3)
    return figure.dressed(before=svg) if view == "back" else figure.dressed(behind=svg)


def _tails(figure: Figure, brush: Brush, view: str, rng: Random) -> Figure:
    """One to three tails with tips of another colour, or rings around them."""
    num, width, tip = rng.randint(1, 3), rng.uniform(4, 8), rng.choice((0, 4, 6))
    ends = [(rng.uniform(15, 32), rng.uniform(12, 56)) for _ in range(num)]
    sign, colour, end = _sign(rng), *rng.sample(_COLOURS, 2)
    way, start = (1, 2) if view == "back" else (-1, -8)
    svg = ""
    for reach, lift in ends:
        there = (start + way * reach, -lift)
        svg += brush.limb(curve((start, -5), (start + way * reach * 1.1, -5), there), colour, width)
        if tip:
            svg += brush.shape(sign(*there, tip), end)
    return figure.dressed(before=svg) if view == "back" else figure.dressed(behind=svg)


_ODDITIES: tuple[Oddity, ...] = (_emblem, _emblem, _belt, _crest, _mane, _wings, _pack, _tails)
