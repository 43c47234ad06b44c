"""Subjects, first part: Pip, Mochi, Petal, Antler and Tock."""

from math import cos, pi, sin
from random import Random

from tlab_diffusion.picturebook.characters.chicks_and_fish import draw_bird
from tlab_diffusion.picturebook.characters.fantastic import draw_dragon
from tlab_diffusion.picturebook.characters.pets import draw_bear, draw_cat
from tlab_diffusion.picturebook.faces import Face
from tlab_diffusion.picturebook.look import Figure, Look
from tlab_diffusion.picturebook.palette import CREAM, GOLD, INK, PINK, RED, SKY
from tlab_diffusion.picturebook.shapes import blob, box, curve, heart, mirrored, oval, star

PETAL, HORN = "#ff9436", "#d9a56b"


def draw_pip(look: Look, view: str, rng: Random) -> Figure:
    """The lead: a bell-shaped wind-up robot with feelers, a key and a star."""
    brush, side = look.brush, view == "side"
    wide = 0.82 if side else 1
    feelers = ""
    for x, tip in ((-3, -9), (5, 7)) if side else ((-8, -15), (8, 15)):
        feelers += brush.limb(curve((x, -55), (x * 1.2, -66), (tip, -71)), INK, 2.6)
        feelers += brush.solid(oval(tip, -72, 5, 5), GOLD)
    feet = "".join(
        brush.shape(oval(x + 2 * side, -3, 7, 4), look.deep) for x in (-9 * wide, 9 * wide)
    )
    half = [(0, -60), (15, -57), (21, -43), (23.5, -14), (18, -5), (0, -4)]
    bell = blob([(x * wide, y) for x, y in mirrored(half)])
    body = brush.solid(bell, look.base, look.marks)
    hands = ""
    for x in (-1,) if side else (-27, 27):
        hands += brush.solid(oval(x, -23, 5.4, 5.4), PINK)
    if view == "back":
        svg = feelers + feet + hands + body + _key(look, 0)
    else:
        screen = box(-1, -53, 20, 21, 9) if side else box(-18, -53, 36, 21, 10)
        svg = (_key(look, -25) if side else "") + feelers + feet + body
        svg += brush.shape(screen, look.light) + brush.shape(star(11 if side else 0, -19, 10), GOLD)
        svg += hands
    face = Face(7 if side else 0, -45, 0.98, 8, side)
    return Figure(svg, face, (0, -59, 17), (0, -30, 44 * wide), (-24 if side else 27, -23), 44)


def _key(look: Look, x: float) -> str:
    """The wind-up key: two loops on a stem, seen from behind (x = 0) or from the side."""
    if x:
        stem = look.brush.limb(curve((x, -26), (-14, -26)), GOLD, 4.4)
        return stem + look.brush.shape(oval(x - 2, -33, 4, 7) + oval(x - 2, -19, 4, 7), GOLD)
    loops = oval(-8, -26, 7.5, 6.5) + oval(8, -26, 7.5, 6.5)
    holes = look.brush.flat(oval(-8, -26, 3, 2.6) + oval(8, -26, 3, 2.6), look.deep)
    return look.brush.shape(loops, GOLD) + holes + look.brush.shape(oval(0, -26, 3.4, 3.4), GOLD)


def draw_mochi(look: Look, view: str, rng: Random) -> Figure:
    """Three tails with blue tips, and a moon."""
    figure, brush = draw_cat(look, view, rng), look.brush
    way = 1 if view == "back" else -1
    start = 2 if view == "back" else -8
    tails = ""
    for reach, lift in ((17, 54), (28, 40), (29, 17)):
        end = (start + way * reach, -lift)
        tails += brush.limb(
            curve((start, -5), (start + way * reach * 1.1, -5), end), look.base, 7.5
        )
        tails += brush.shape(oval(end[0], end[1], 6.2, 6.2), SKY)
    if view == "back":
        return figure.dressed(before=tails)
    x, y, _ = figure.head
    x += 4 if view == "side" else 0
    moon = f"M{x - 5} {y + 2}a6.4 6.4 0 1 0 10 0a5 4.6 0 1 1 -10 0Z"
    return figure.dressed(tails, brush.shape(moon, GOLD))


def draw_petal(look: Look, view: str, rng: Random) -> Figure:
    """A mane of petals around the head, seen from every side."""
    figure, brush = draw_dragon(look, view, rng), look.brush
    y = -41
    mane = ""
    for i in range(12):
        x, dy = 22 * sin(2 * pi * i / 12), -21 * cos(2 * pi * i / 12)
        mane += oval(x, y + dy, 7, 7)
    spots = ""
    if view != "side":
        spots = "".join(brush.flat(oval(x, -31, 3, 3), RED) for x in (-25, 25))
    return figure.dressed(brush.shape(mane, PETAL), spots)


def draw_antler(look: Look, view: str, rng: Random) -> Figure:
    """Antlers above, hearts on chest and back."""
    figure, brush = draw_bear(look, view, rng), look.brush
    horns = ""
    for s in (-0.7, 0.5) if view == "side" else (-1, 1):
        x, y = s * 8, figure.head[1] + 4
        beam = curve((x, y), (x + s * 4, y - 8), (x + s * 14, y - 6), (x + s * 15, y - 18))
        tine = curve((x + s * 5, y - 6), (x + s * 4, y - 11), (x + s * 3, y - 17))
        horns += brush.limb(beam + tine, HORN, 4.6)
    badge = heart(6 if view == "side" else 0, -14, 7)
    return figure.dressed(horns, brush.shape(badge, "#ffffff"))


def draw_tock(look: Look, view: str, rng: Random) -> Figure:
    """A propeller on the head and a clock on the body."""
    figure, brush = draw_bird(look, view, rng), look.brush
    y = figure.head[1]
    spin = brush.limb(curve((0, y + 2), (0, y - 9)), INK, 3)
    spin += brush.solid(oval(-12, y - 10, 12, 4.2), RED) + brush.solid(
        oval(12, y - 10, 12, 4.2), "#ffffff"
    )
    spin += brush.shape(oval(0, y - 10, 3, 3), GOLD)
    if view == "back":
        return figure.dressed(before=spin)
    x, half = (12, 5.4) if view == "side" else (0, 9.6)
    dial = brush.shape(oval(x, -16.5, half, 9.4), CREAM)
    dial += brush.stroke(f"M{x} -21V-16L{x + half * 0.5:.1f} -13.5", INK, 1.9)
    return figure.dressed(before=spin + dial)
