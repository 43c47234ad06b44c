"""Subjects, second part: Lumi, Humphrey, Dash, Yaga and Buzz."""

from random import Random

from tlab_diffusion.picturebook.characters.chicks_and_fish import draw_fish
from tlab_diffusion.picturebook.characters.machines import draw_car
from tlab_diffusion.picturebook.characters.pets import draw_rabbit
from tlab_diffusion.picturebook.characters.things import draw_house, draw_teapot
from tlab_diffusion.picturebook.faces import Face
from tlab_diffusion.picturebook.look import Figure, Look
from tlab_diffusion.picturebook.palette import GOLD, INK, PINK, SKY
from tlab_diffusion.picturebook.shapes import blob, curve, heart, oval

WING = "#e3f4ff"


def draw_lumi(look: Look, view: str, rng: Random) -> Figure:
    """A lantern on a stalk, a zigzag around the body."""
    figure, brush = draw_fish(look, view, rng), look.brush
    x, y, _ = figure.head
    tip = x + (26 if view == "side" else 13)
    stalk = brush.limb(
        curve((x, y + 2), (x + 2, y - 22), (tip, y - 20), (tip, y - 9)), look.deep, 3
    )
    lamp = f'<circle cx="{tip:.1f}" cy="{y - 6:.1f}" r="9" fill="#fff6b0" opacity=".55"/>'
    lamp += brush.solid(oval(tip, y - 6, 5.6, 5.6), "#ffe95c")
    if view == "side":
        belt = brush.stroke("M-8 -45l5 6l-6 6l6 6l-6 6l5 6", "#ffe23d", 4.4)
    else:
        belt = brush.stroke("M-16 -19l6 5l5 -5l5 5l5 -5l5 5l6 -5", "#ffe23d", 4)
    return figure.dressed(before=belt + stalk + lamp)


def draw_humphrey(look: Look, view: str, rng: Random) -> Figure:
    """Large fan-shaped ears and a belt of beads."""
    figure, brush = draw_teapot(look, view, rng), look.brush
    ears = ""
    for s in (-1,) if view == "side" else (-1, 1):
        ear = blob([(s * 14, -46), (s * 30, -52), (s * 35, -38), (s * 27, -24), (s * 15, -26)])
        ears += brush.solid(ear, look.deep)
        if view != "back":
            ears += brush.flat(oval(s * 25, -38, 6, 8), PINK)
    belt = brush.stroke(curve((-16.5, -11.5), (0, -7), (16.5, -11.5)), GOLD, 5.4)
    beads = "".join(brush.flat(oval(x, -9.4, 2, 2), "#2f6fe0") for x in (-12, -4, 4, 12))
    return figure.dressed(ears, belt + beads)


def draw_dash(look: Look, view: str, rng: Random) -> Figure:
    """A large snail's shell on the back."""
    figure, brush = draw_rabbit(look, view, rng), look.brush
    if view == "front":
        shell = brush.solid(oval(0, -26, 29, 24), SKY)
        rings = "".join(
            brush.stroke(curve((s * 26, -36), (s * 19, -24), (s * 26, -13)), PINK, 3)
            for s in (-1, 1)
        )
        return figure.dressed(behind=shell + rings)
    x = -15 if view == "side" else 0
    shell = brush.solid(oval(x, -20, 19, 19), SKY)
    spiral = f"M{x} -19c3 -3 7 1 4 5s-13 3 -13 -5s9 -13 17 -8s8 15 1 21"
    return figure.dressed(before=shell + brush.stroke(spiral, PINK, 3.2))


def draw_yaga(look: Look, view: str, rng: Random) -> Figure:
    """A house that runs on legs."""
    house, brush = draw_house(look, view, rng), look.brush
    legs = ""
    for x in (-9, 9):
        knee = (x + (4 if view == "side" else 0), -8)
        legs += brush.limb(curve((x, -17), knee), "#ffb52e", 4.4)
        foot = f"M{knee[0]} -8L{x - 5} -1.5M{knee[0]} -8L{x + 1} -1.5M{knee[0]} -8L{x + 7} -1.5"
        legs += brush.limb(foot, "#ffb52e", 3.4)
    x, y, width = house.head
    size, lift = 0.84, -15
    love = brush.shape(heart(x, y + 13, 5.4), "#e0304a")
    svg = f'{legs}<g transform="translate(0 {lift}) scale({size})">{house.svg}{love}</g>'
    face = house.face
    return Figure(
        svg=svg,
        face=Face(face.x * size, face.y * size + lift, face.scale * size, face.gap, face.side),
        head=(x * size, y * size + lift, width * size),
        neck=(0, lift - 6, house.neck[2] * size),
        hand=(house.hand[0] * size, house.hand[1] * size + lift),
        width=34,
    )


def draw_buzz(look: Look, view: str, rng: Random) -> Figure:
    """A car with the wings and stripes of a bee."""
    figure, brush = draw_car(look, view, rng), look.brush
    x, y, _ = figure.head
    wings, feelers = "", ""
    for s in (-0.5, -1) if view == "side" else (-1, 1):
        lift = -8 if s == -0.5 else 0
        tip = [(x + s * 16, y - 15 + lift), (x + s * 29, y - 7 + lift)]
        wings += brush.shape(blob([(x + s * 3, y + 5), *tip, (x + s * 20, y + 6)]), WING)
    for s in (0.4, 1) if view == "side" else (-1, 1):
        stalk = curve((x + s * 4, y + 2), (x + s * 5, y - 8), (x + s * 10, y - 11))
        feelers += brush.limb(stalk, INK, 2.4)
        feelers += brush.shape(oval(x + s * 10, y - 11, 3, 3), GOLD)
    if view == "side":
        bands = "M-20 -27Q-23 -18 -20 -8M-9 -28Q-11 -18 -9 -8M2 -28Q0 -18 2 -8"
    else:
        bands = "M-15 -28Q-19 -18 -15 -8M15 -28Q19 -18 15 -8"
    return figure.dressed(wings + feelers, brush.stroke(bands, "#ffd21f", 4))
